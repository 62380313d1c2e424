//! Waiting in a thread of shuttle's, as a thread without a loop does.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use shuttle::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as a thread without a loop does. A wake-up that is lost is a deadlock, which shuttle reports.
pub(super) fn block<T>(mut poll: impl FnMut(&Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(value) = poll(&Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}
