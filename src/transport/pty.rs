//! The instrument's side of a pseudo-terminal: any program can open the other side as if it were a serial port. What is said there is
//! decided elsewhere.
//!
//! # Invariants
//! 1. The other side is never hung up from here before the [`Pty`] goes: programs may open and close it as often as they like.
//! 2. Closing never blocks: nothing holds up a pseudo-terminal's output.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionread};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, InputModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;

use super::{Gives, HostSettings, Transport, read_all_now};
use crate::descriptor::{Registered, register, watched};

/// More than a terminal gives out at once.
const SCRATCH: usize = 4096;

/// See the module.
pub struct Pty {
    // First, so that the numbers are out of the register before the descriptors are closed.
    _registered: [Registered; 2],
    master: AsyncFd<OwnedFd>,
    /// Kept open so that the master is not hung up while no program has the other side open: each read would be EIO, and tokio would call
    /// it ready for ever after.
    slave: OwnedFd,
    scratch: Box<[u8]>,
}

impl Pty {
    /// A new pseudo-terminal in raw mode, and the path of the side to open. Call it inside a tokio runtime.
    ///
    /// *Errors*: the system has no more of them, or no more descriptors.
    pub fn open() -> Result<(Pty, String), io::Error> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        // Not every system takes this flag on opening.
        fcntl_setfd(&master, FdFlags::CLOEXEC)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = name.into_string().map_err(|_| io::Error::other("the pseudo-terminal's path is not text"))?;
        let slave = open(Path::new(&path), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut modes = tcgetattr(&slave)?;
        modes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        let registered = [register(&master), register(&slave)];
        let pty = Pty {
            _registered: registered,
            master: watched(master)?,
            slave,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        };
        Ok((pty, path))
    }
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the pseudo-terminal was hung up")
}

impl Transport for Pty {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.master.poll_read_ready(cx))?;
            let Ok(read) = guard.try_io(|master| Ok(rustix::io::read(master, &mut *self.scratch)?)) else { continue };
            let n = read?;
            if n == 0 {
                return Poll::Ready(Err(hung_up()));
            }
            into.extend_from_slice(self.scratch.get(..n).unwrap_or_default());
            return Poll::Ready(Ok(n));
        }
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        read_all_now(&self.master, Gives::Parts, &mut self.scratch, |piece| into.extend_from_slice(piece))?
            .or_ended(hung_up)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Tried without asking tokio, because nothing wakes a writer whose output was discarded.
        match rustix::io::write(&self.master, bytes) {
            Err(Errno::AGAIN) => {}
            wrote => return Poll::Ready(wrote.map_err(io::Error::from)),
        }
        loop {
            let mut guard = ready!(self.master.poll_write_ready(cx))?;
            if let Ok(wrote) = guard.try_io(|master| Ok(rustix::io::write(master, bytes)?)) {
                return Poll::Ready(wrote);
            }
        }
    }

    /// What a pseudo-terminal takes is with the other side at once.
    fn queued_output(&self) -> usize {
        0
    }

    fn unread(&self) -> usize {
        // What was written is on its way to the other side by a worker of the kernel's, and until then counts nowhere;
        // Linux finishes that before it says that there is nothing to read.
        let _ = poll(&mut [PollFd::new(&self.slave, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        ioctl_fionread(&self.slave).ok().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    fn host_settings(&self) -> Option<HostSettings> {
        let modes = tcgetattr(&self.slave).ok()?;
        let control = modes.control_modes;
        let parity = match (control.contains(ControlModes::PARENB), control.contains(ControlModes::PARODD)) {
            (false, _) => 'N',
            (true, false) => 'E',
            (true, true) => 'O',
        };
        let bytesize = match control & ControlModes::CSIZE {
            ControlModes::CS5 => 5,
            ControlModes::CS6 => 6,
            ControlModes::CS7 => 7,
            _ => 8,
        };
        Some(HostSettings {
            baudrate: modes.output_speed(),
            bytesize,
            parity,
            stopbits: if control.contains(ControlModes::CSTOPB) { 2.0 } else { 1.0 },
            xonxoff: modes.input_modes.contains(InputModes::IXON),
            rtscts: control.contains(ControlModes::CRTSCTS),
        })
    }

    fn discard_output(&mut self) {
        // Nothing to be done if it fails: then the bytes stay.
        let _ = tcflush(self.master.as_fd(), QueueSelector::OFlush);
    }

    fn discard_input(&mut self) {
        let _ = tcflush(self.master.as_fd(), QueueSelector::IFlush);
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn close(self: Box<Self>) {
        // Dropping it hangs up the other side.
    }

    fn close_blocks(&self) -> bool {
        false
    }
}
