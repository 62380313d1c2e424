//! Calls that block get an operating-system thread each, with a name and an entry in the census. The only place that starts threads.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{Builder, JoinHandle, Thread, current, park_timeout};

pub use std::thread::ThreadId;
use std::time::Duration;

use tokio::sync::oneshot;

use super::census::{Census, Kind};
use crate::clock::{Clock, Moment};

/// Runs `work` on a thread called `name` and waits for its value.
///
/// *Cancel safety*: dropping the future leaves the thread to finish; its value then goes to `unwanted`, on that thread.
/// A panic of `work` shows as `None`.
pub async fn on_thread<T: Send + 'static>(
    census: &Census,
    parent: Option<u64>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
    unwanted: impl FnOnce(T) + Send + 'static,
) -> io::Result<Option<T>> {
    let (tell, told) = oneshot::channel();
    start(census, parent, name, work, |value| {
        if let Err(value) = tell.send(value) {
            unwanted(value);
        }
    })?;
    Ok(told.await.ok())
}

/// Starts a thread called `name` that does `work`, and hands its value to `then`, there, when it is out of the census.
pub fn start<T>(
    census: &Census,
    parent: Option<u64>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
    then: impl FnOnce(T) + Send + 'static,
) -> io::Result<()> {
    let alive = census.enter(parent, Kind::Thread, &Arc::from(name));
    // Detached on purpose: the census holds it, and the value (or its absence) says when it ended.
    let _detached: JoinHandle<()> = Builder::new().name(name.to_owned()).spawn(move || {
        let value = work();
        drop(alive);
        then(value);
    })?;
    Ok(())
}

/// Starts a thread that is meant to live as long as the process: the runtime's own.
pub fn for_ever(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

/// Which thread runs this.
pub fn this_thread() -> ThreadId {
    current().id()
}

/// Lets a plain thread wait for work on the runtime. It belongs to the thread that made it.
#[derive(Debug)]
pub struct Parker(());

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Parker {
    /// A parker for this thread.
    pub fn here() -> Parker {
        Parker(())
    }

    /// Wakes the thread out of [`Parker::nap`].
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::new(Unpark(current())))
    }

    /// Sleeps until woken, at most `span`. May wake for no reason.
    pub fn nap(&self, span: Duration) {
        park_timeout(span);
    }

    /// Waits for `work` until `deadline`. Returns whether it ended.
    pub fn wait_until(&self, work: impl Future, waker: Waker, deadline: Moment, clock: &Clock) -> bool {
        let mut work = pin!(work);
        let mut cx = Context::from_waker(&waker);
        loop {
            if work.as_mut().poll(&mut cx).is_ready() {
                return true;
            }
            let left = deadline.since(clock.now());
            if left.is_zero() {
                return false;
            }
            self.nap(left);
        }
    }
}
