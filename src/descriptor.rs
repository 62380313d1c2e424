//! Descriptors as bare numbers: borrowing one, and the register of those that a forked child has to give up. The only module
//! that says `unsafe`, with its part `ioctl`; nothing is read or written here.
//!
//! # Invariants
//! 1. A number is in the register only while its owner is alive; it is taken out before the descriptor is closed.
//! 2. The register does not change while its process forks, so a child finds it whole.
//! 3. Numbers are closed only in another process than the one that registered them.

#![expect(
    unsafe_code,
    reason = "a serial stream gives its descriptor as a number, a forked child has nothing else, and drivers take structures"
)]

pub mod ioctl;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rustix::process::{Pid, getpid};
use tokio::io::unix::AsyncFd;
use tokio_serial::SerialStream;

/// The descriptor of an open serial stream.
pub fn of_serial(stream: &SerialStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns this descriptor, and it is borrowed for as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// A descriptor that the current tokio runtime watches. It is to be nonblocking.
pub fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it is open, it stays the same one, and nothing but its drop closes it.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

struct Register {
    /// Whose numbers they are. A child has the same numbers, but none of the threads that use them.
    process: Option<Pid>,
    open: Vec<RawFd>,
}

static REGISTER: Mutex<Register> = Mutex::new(Register { process: None, open: Vec::new() });

thread_local! {
    /// The lock on the register, from before this thread forks until after.
    static HELD: RefCell<Option<MutexGuard<'static, Register>>> = const { RefCell::new(None) };
}

fn lock() -> MutexGuard<'static, Register> {
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, if this thread holds it for a fork. (At a thread's very end there is nowhere to hold it.)
fn held() -> Option<MutexGuard<'static, Register>> {
    HELD.try_with(RefCell::take).ok().flatten()
}

fn hold(register: MutexGuard<'static, Register>) {
    // Nowhere to hold it means that it is let go, which is as it would be without a fork.
    let _ = HELD.try_with(|held| held.replace(Some(register)));
}

/// What runs between the two ends of a fork, on the thread that forks, may open and close links too.
fn with<T>(work: impl FnOnce(&mut Register) -> T) -> T {
    match held() {
        Some(mut register) => {
            let value = work(&mut register);
            hold(register);
            value
        }
        None => work(&mut lock()),
    }
}

/// A descriptor's entry in the register, until this is dropped. Drop it before the descriptor is closed: the number may be
/// somebody else's right after.
#[derive(Debug)]
#[must_use]
pub struct Registered(RawFd);

/// Enters a descriptor that a forked child must not keep open.
pub fn register(descriptor: impl AsFd) -> Registered {
    let number = descriptor.as_fd().as_raw_fd();
    with(|register| {
        let process = Some(getpid());
        if register.process != process {
            register.process = process;
            register.open.clear();
        }
        register.open.push(number);
    });
    Registered(number)
}

impl Drop for Registered {
    fn drop(&mut self) {
        with(|register| {
            if let Some(index) = register.open.iter().position(|number| *number == self.0) {
                register.open.swap_remove(index);
            }
        });
    }
}

/// Keeps the register as it is until this thread has forked. Twice is as good as once.
pub fn lock_for_fork() {
    let register = held().unwrap_or_else(lock);
    hold(register);
}

/// Lets the register change again, in the process that forked.
pub fn unlock_after_fork_in_parent() {
    drop(held());
}

/// Gives up this process's copies of what its parent had registered, without running any destructor: those would talk to the
/// parent's devices. Does nothing in the process that registered them.
pub fn close_all_in_child() {
    let register = held().or_else(|| match REGISTER.try_lock() {
        Ok(register) => Some(register),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        // Nobody locked it for the fork, and a thread that does not exist here was changing it.
        Err(TryLockError::WouldBlock) => None,
    });
    let Some(mut register) = register else { return };
    if register.process != Some(getpid()) {
        let copies = std::mem::take(&mut register.open);
        // SAFETY: this process was forked from the one that opened them, and of the threads that use them none is here.
        unsafe { close_copies(&copies) };
    }
}

/// Closes descriptors whose owners live in the parent process.
///
/// # Safety
/// Nothing in this process may use or close them afterwards.
unsafe fn close_copies(copies: &[RawFd]) {
    for number in copies {
        // SAFETY: as above.
        unsafe { rustix::io::close(*number) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::io::{Errno, fcntl_getfd};
    use rustix::pipe::pipe;

    fn state_of(number: RawFd) -> Result<(), Errno> {
        // SAFETY: asked for its flags only, and a number that is not open is an answer here.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).map(drop)
    }

    /// Forks; the child runs `check`, then becomes `true`.
    fn in_a_forked_child(check: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> io::Result<()> {
        let mut command = Command::new("true");
        // SAFETY: this is the place to try what is meant for exactly here.
        unsafe { command.pre_exec(check) };
        command.status().map(drop)
    }

    // One test: the register is one for the process, and this forks.
    #[test]
    fn a_child_gives_up_its_copies_and_the_parent_keeps_its_own() {
        let (reader, writer) = pipe().unwrap();
        let (kept, closed_before) = (writer.as_raw_fd(), register(&reader));
        drop(closed_before);
        let number = reader.as_raw_fd();

        // Not registered any more: the child keeps it.
        lock_for_fork();
        in_a_forked_child(move || {
            close_all_in_child();
            state_of(number).map_err(io::Error::from)
        })
        .unwrap();
        unlock_after_fork_in_parent();

        let registered = register(&reader);
        lock_for_fork();
        lock_for_fork();
        // A hook that runs around the fork, on this thread, opens and closes something.
        drop(register(&writer));
        in_a_forked_child(move || {
            close_all_in_child();
            state_of(kept)?;
            match state_of(number) {
                Err(Errno::BADF) => Ok(()),
                _ => Err(io::Error::other("still open")),
            }
        })
        .unwrap();
        unlock_after_fork_in_parent();
        assert_eq!(state_of(number), Ok(()));

        // A child whose fork was not announced, while another thread held the lock, gives up instead of waiting for ever.
        let busy = lock();
        in_a_forked_child(|| {
            close_all_in_child();
            Ok(())
        })
        .unwrap();
        drop(busy);

        // In the parent it does nothing.
        close_all_in_child();
        assert_eq!(state_of(number), Ok(()));
        drop(registered);
        assert!(!lock().open.contains(&number));
    }
}
