//! How a link gets its pipe: found first (which device?), then opened. Waits and deadlines are the session's.

mod rfc2217;
mod serial;
mod tcp;
mod usb;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{OpenError, OpenKind};
use crate::nursery::Nursery;
use crate::nursery::thread::{on_thread, start};
use crate::transport::{Aside, Opened};

pub use rfc2217::Rfc2217Server;
pub use serial::{PortName, SerialPort};
pub use tcp::TcpServer;
pub use usb::UsbDevice;

/// A future that can be stored.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where things run while a link is open.
#[derive(Clone)]
pub struct Place {
    /// The scope that everything is a child of.
    pub nursery: Nursery,
    /// The runtime on which pipes are registered.
    pub runtime: tokio::runtime::Handle,
}

impl Place {
    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.nursery.clock()
    }
}

/// A way to a pipe.
pub trait Opener: Send + Sync {
    /// The port in words and, where it is a device, its number. Looks, does not open.
    fn find<'a>(&'a self, attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>>;

    /// Opens what `find` found. Once the attempt is given up it should end as soon as nothing of it runs any more, with or without a
    /// pipe; it is then waited for for a while.
    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>>;

    /// How long opening may take.
    fn limit(&self) -> Duration;

    /// Whether what comes through its pipes is marked where packets begin, as `Framing::Packets` wants it.
    fn keeps_packets(&self) -> bool {
        false
    }

    /// Whether its pipes never leave this process: then they go by the same clock as we, also where that stands still.
    fn is_in_memory(&self) -> bool {
        false
    }
}

/// One attempt to open a link.
#[derive(Clone)]
pub struct Attempt {
    /// The link's name, for threads.
    pub name: Arc<str>,
    /// Where it runs.
    pub place: Place,
    /// Cancelled when nobody wants it any more.
    pub given_up: CancellationToken,
}

impl Attempt {
    /// Threads called `thread`, for what an open pipe does that may block.
    pub(super) fn aside(&self, thread: String) -> Aside {
        let (census, parent) = (self.place.nursery.census().clone(), self.place.nursery.id());
        Arc::new(move |work| start(&census, Some(parent), &thread, work, drop))
    }

    /// A call that blocks, on a thread with a name. If nobody waits for it any more, its value goes to `unwanted`, on that thread.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        thread: &str,
        work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
        unwanted: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, OpenError> {
        let (census, parent) = (self.place.nursery.census(), Some(self.place.nursery.id()));
        let unwanted = |value: Result<T, OpenError>| {
            if let Ok(value) = value {
                unwanted(value);
            }
        };
        match on_thread(census, parent, thread, work, unwanted).await {
            Ok(Some(value)) => value,
            Ok(None) => Err(OpenError::new(OpenKind::Unsupported, format!("thread {thread} panicked"))),
            Err(error) => Err(OpenError {
                kind: OpenKind::Refused,
                why: format!("no thread to open it on: {error}"),
                errno: error.raw_os_error(),
            }),
        }
    }
}
