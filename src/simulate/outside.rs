//! Where a simulated instrument can be found: a pseudo-terminal at a path, a port of this machine, or a pipe in memory. What is said
//! there is decided elsewhere.
//!
//! # Invariants
//! 1. One host at a time, as with a real instrument: over a network whoever comes second is turned away.
//! 2. What is plugged in again is found where it was.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::clock::Clock;
use crate::transport::Transport;
use crate::transport::memory::memory_pipe;
use crate::transport::pty::Pty;
use crate::transport::remote_end::RemoteEnd;
use crate::transport::tcp_end::Listening;

/// See the module. Every method returns at once.
pub trait Outside: Send {
    /// The cable is on: hosts find the instrument from now on. The instrument's side of it, where that is there before a host is.
    ///
    /// *Errors*: the system has no more terminals, or somebody else has taken the port.
    fn plug(&mut self) -> io::Result<Option<Box<dyn Transport>>>;

    /// The cable is off: hosts find nothing.
    fn unplug(&mut self);

    /// The next host that comes, where hosts come.
    fn poll_host(&mut self, cx: &mut Context<'_>) -> Poll<Box<dyn Transport>>;
}

/// A pseudo-terminal, behind a link at a path that stays the same.
pub struct Terminal {
    path: PathBuf,
}

impl Terminal {
    /// At `path`, whose folder exists.
    pub fn at(path: PathBuf) -> Terminal {
        Terminal { path }
    }
}

impl Outside for Terminal {
    fn plug(&mut self) -> io::Result<Option<Box<dyn Transport>>> {
        let (pty, slave) = Pty::open()?;
        self.unplug();
        symlink(slave, &self.path)?;
        Ok(Some(Box::new(pty)))
    }

    fn unplug(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }

    fn poll_host(&mut self, _cx: &mut Context<'_>) -> Poll<Box<dyn Transport>> {
        Poll::Pending
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// A port of this machine: plain TCP, or a serial port behind RFC 2217.
pub struct Net {
    listening: Option<Listening>,
    port: u16,
    remote: bool,
}

impl Net {
    /// On `port`; 0: any that is free. Call it inside a tokio runtime.
    ///
    /// *Errors*: somebody else listens there.
    pub fn open(port: u16, remote: bool) -> io::Result<Net> {
        let listening = Listening::on(port)?;
        let port = listening.port()?;
        Ok(Net { listening: Some(listening), port, remote })
    }

    /// The port it is.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Outside for Net {
    fn plug(&mut self) -> io::Result<Option<Box<dyn Transport>>> {
        if self.listening.is_none() {
            self.listening = Some(Listening::on(self.port)?);
        }
        Ok(None)
    }

    fn unplug(&mut self) {
        self.listening = None;
    }

    fn poll_host(&mut self, cx: &mut Context<'_>) -> Poll<Box<dyn Transport>> {
        let Some(listening) = &mut self.listening else { return Poll::Pending };
        loop {
            match listening.poll_accept(cx) {
                Poll::Ready(Ok(pipe)) => {
                    return Poll::Ready(if self.remote { Box::new(RemoteEnd::around(pipe)) } else { pipe });
                }
                // It was gone before it was let in.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of descriptors, say: the next one that comes tries again.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A pipe in memory: hosts come through a [`MemoryDoor`].
pub struct Memory {
    door: MemoryDoor,
}

/// Where hosts in this process come in.
#[derive(Clone)]
pub struct MemoryDoor(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    open: bool,
    waiting: VecDeque<Box<dyn Transport>>,
    waker: Option<Waker>,
    refusals: u64,
}

/// What the pipe holds: as much as a small instrument's buffers.
const PIPE: usize = 4096;

impl Memory {
    /// Nobody has come yet.
    pub fn new() -> (Memory, MemoryDoor) {
        let door = MemoryDoor(Arc::default());
        (Memory { door: door.clone() }, door)
    }
}

impl MemoryDoor {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host's end of a new pipe; `None`: nobody is there.
    pub fn knock(&self, clock: &Clock) -> Option<Box<dyn Transport>> {
        let (ours, theirs) = memory_pipe(clock, PIPE);
        let waker = {
            let mut inside = self.inside();
            if inside.refusals > 0 {
                inside.refusals -= 1;
                return None;
            }
            if !inside.open {
                return None;
            }
            inside.waiting.push_back(Box::new(theirs));
            inside.waker.take()
        };
        clock.stir();
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(Box::new(ours))
    }

    /// The next so many are turned away.
    pub fn refuse(&self, times: u64) {
        self.inside().refusals = times;
    }
}

impl Outside for Memory {
    fn plug(&mut self) -> io::Result<Option<Box<dyn Transport>>> {
        self.door.inside().open = true;
        Ok(None)
    }

    fn unplug(&mut self) {
        let waiting = {
            let mut inside = self.door.inside();
            inside.open = false;
            std::mem::take(&mut inside.waiting)
        };
        // Closing wakes those at the other end, so it is done with nothing held.
        drop(waiting);
    }

    fn poll_host(&mut self, cx: &mut Context<'_>) -> Poll<Box<dyn Transport>> {
        let mut inside = self.door.inside();
        match inside.waiting.pop_front() {
            Some(pipe) => Poll::Ready(pipe),
            None => {
                inside.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.unplug();
    }
}
