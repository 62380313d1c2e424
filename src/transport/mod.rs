//! Byte pipes: what an actor reads from and writes to. No messages, no turns, no deadlines of exchanges live here.

pub mod control;
pub mod memory;
pub mod packets;
pub mod ports;
pub mod pty;
pub mod remote_end;
pub mod rfc2217;
pub mod serial;
pub mod tcp;
pub mod tcp_end;
pub mod tls;
pub mod unplugged;
pub mod usb;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustix::io::Errno;

use control::{Control, ControlError, Controlled};

/// A pipe that was just opened, and what there is to say about it.
pub struct Opened {
    /// The pipe itself.
    pub pipe: Box<dyn Transport>,
    /// Where it leads: a path with its links followed, or host and port.
    pub port: String,
    /// The number of the device behind it, where it is one: two paths with the same number are the same port.
    pub device: Option<u64>,
    /// What had to be left out, one sentence each.
    pub notices: Vec<String>,
}

/// How a host has set its line, as an instrument's side of it sees that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostSettings {
    /// Bits per second.
    pub baudrate: u32,
    /// Data bits of a character.
    pub bytesize: u8,
    /// As pyserial writes it: N, E, O, M, S.
    pub parity: char,
    /// 1, 1.5 or 2.
    pub stopbits: f64,
    /// Held up by XON and XOFF.
    pub xonxoff: bool,
    /// Held up by the lines RTS and CTS.
    pub rtscts: bool,
}

/// Starts something that may block, on a thread of its own.
pub type Aside = Arc<dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

/// An open byte pipe. Owned by exactly one actor; every method returns at once.
pub trait Transport: Send {
    /// Reads what there is, appending to `into`. Ready(Ok(n)) has n > 0: the end of the stream is an error
    /// (`UnexpectedEof` with a reason in words), because on a serial port it means that the port has gone.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Asks the system itself, past any cached readiness: appends what is there now, 0 if nothing.
    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize>;

    /// The same, right after `poll_read` has given something, in the same turn of `cx`'s task: what there is besides. Cheaper where that
    /// read has told whether there is more.
    fn read_rest(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> io::Result<usize> {
        let _ = cx;
        self.read_now(into)
    }

    /// Writes as much of `bytes` as is taken now, at least one byte.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Bytes that were accepted and have not left the machine yet; 0 where that cannot be known.
    fn queued_output(&self) -> usize;

    /// Bytes that were accepted and that nobody has read yet, as far as this side can see: for an instrument's side of a wire.
    fn unread(&self) -> usize {
        self.queued_output()
    }

    /// How the program on the other side has set the line, where this side can see it.
    fn host_settings(&self) -> Option<HostSettings> {
        None
    }

    /// Throws away output that was accepted and has not left, where the system can.
    fn discard_output(&mut self);

    /// Throws away input that has come and was not read.
    fn discard_input(&mut self);

    /// The line's speed in bytes per second, where writing is not as fast as the machine: `None` for sockets and pseudo-terminals.
    fn bytes_per_second(&self) -> Option<f64>;

    /// Carries `control` out. Called again with the same one until it is ready; called without one between, it may be begun anew.
    ///
    /// *Errors*: the device cannot do it, which is what a pipe without lines says to all of them.
    fn poll_control(&mut self, cx: &mut Context<'_>, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        let _ = cx;
        Poll::Ready(Err(no_line(control)))
    }

    /// Nobody wants the control any more that `poll_control` was last called with: its answer is nobody's, and a break that it begins ends.
    fn abandon_control(&mut self) {}

    /// Gives the pipe back. May block (the kernel waits for output that is held up), so it runs on a thread of its own:
    /// lift the exclusive flag and the lock first, discard pending output, then close.
    fn close(self: Box<Self>);

    /// Whether `close` can block, and so needs that thread.
    fn close_blocks(&self) -> bool;
}

/// What a pipe that is no serial line says to what it cannot do.
fn no_line(control: &Control) -> ControlError {
    let what = if *control == Control::WriteEof { "this pipe has no end of its own" } else { "this is no serial line" };
    ControlError::Unsupported(format!("{}: {what}", control.word()))
}

/// What a write after the end of the output meets.
fn output_ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "write_eof has ended the output")
}

/// A direct read takes no more than this at once, so that a device that never stops talking does not hold up everyone else.
const MOST_NOW: usize = 1 << 20;

/// How a descriptor gives out what it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// As much as fits: less than that was all.
    Whole,
    /// In parts, as a terminal does: only the system's word that there is nothing more is an end.
    Parts,
}

/// What a direct read found.
struct Found {
    total: usize,
    /// The stream has ended behind that.
    ended: bool,
}

impl Found {
    /// An end right away is an error; one behind other bytes is left for the next read to meet.
    fn or_ended(self, error: impl FnOnce() -> io::Error) -> io::Result<usize> {
        if self.ended && self.total == 0 { Err(error()) } else { Ok(self.total) }
    }
}

/// Reads everything that `descriptor` has now and hands it to `take`, piece by piece.
fn read_all_now(
    descriptor: impl AsFd,
    gives: Gives,
    scratch: &mut [u8],
    mut take: impl FnMut(&[u8]),
) -> io::Result<Found> {
    let mut total = 0;
    while total < MOST_NOW {
        match rustix::io::read(&descriptor, &mut *scratch) {
            Ok(0) => return Ok(Found { total, ended: true }),
            Ok(n) => {
                take(scratch.get(..n).unwrap_or_default());
                total += n;
                if gives == Gives::Whole && n < scratch.len() {
                    break;
                }
            }
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            // What came before it is given out first; a terminal's error is there to stay.
            Err(_) if total > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Found { total, ended: false })
}
