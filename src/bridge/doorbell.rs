//! A descriptor that any thread can make readable: an eventfd on Linux, a pipe elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read, write};

/// See the module.
pub(super) struct Doorbell {
    watched: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    button: OwnedFd,
}

impl Doorbell {
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Doorbell> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Doorbell { watched: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> io::Result<Doorbell> {
        use rustix::fs::{OFlags, fcntl_setfl};
        let (watched, button) = rustix::pipe::pipe()?;
        for end in [&watched, &button] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            fcntl_setfl(end, OFlags::NONBLOCK)?;
        }
        Ok(Doorbell { watched, button })
    }

    /// What a loop watches for reading.
    pub(super) fn watched(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }

    fn button(&self) -> BorrowedFd<'_> {
        #[cfg(target_os = "linux")]
        return self.watched.as_fd();
        #[cfg(not(target_os = "linux"))]
        self.button.as_fd()
    }

    /// Makes it readable. Never blocks; if it is full, it is readable already.
    pub(super) fn ring(&self) {
        while let Err(Errno::INTR) = write(self.button(), &1_u64.to_ne_bytes()) {}
    }

    /// Makes it unreadable again.
    pub(super) fn silence(&self) {
        let mut rings = [0_u8; 64];
        while let Err(Errno::INTR) = read(&self.watched, &mut rings) {}
    }
}
