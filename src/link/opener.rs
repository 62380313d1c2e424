//! How a link gets its pipe: found first (which device?), then opened. Waits and deadlines are the session's.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{OpenError, OpenKind};
use crate::nursery::Nursery;
use crate::nursery::thread::on_thread;
use crate::transport::Opened;
use crate::transport::ports::{Usb, ports};
use crate::transport::serial::{SerialSettings, device_number, open_serial};
use crate::transport::tcp::{address, open_tcp, resolve};

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
    /// A call that blocks, on a thread with a name. If nobody waits for it any more, its value goes to `unwanted`, on that thread.
    async fn on_thread<T: Send + 'static>(
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

/// A serial port.
pub struct SerialPort {
    /// Which.
    pub port: PortName,
    /// How.
    pub settings: SerialSettings,
}

/// Which serial port.
pub enum PortName {
    /// This path.
    Path(String),
    /// Whatever path that adapter has when it is opened.
    Usb(Usb),
}

/// Opening a serial port takes milliseconds; a driver that has not answered by then is stuck.
const SERIAL_LIMIT: Duration = Duration::from_secs(10);

impl Opener for SerialPort {
    fn find<'a>(&'a self, attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(async move {
            let path = match &self.port {
                PortName::Path(path) => path.clone(),
                PortName::Usb(usb) => {
                    let thread = format!("labtether-list-{}", attempt.name);
                    let listed = attempt.on_thread(&thread, || Ok(ports()), drop).await?;
                    usb.resolve(&listed)?
                }
            };
            let device = device_number(&path);
            Ok((path, device))
        })
    }

    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let thread = format!("labtether-open-{}", attempt.name);
            let (path, settings, runtime) = (port.to_owned(), self.settings.clone(), attempt.place.runtime.clone());
            let work = move || open_serial(&path, &settings, &runtime);
            // Nobody waited for it: it is closed there, as if it had never been opened.
            attempt.on_thread(&thread, work, |opened: Opened| opened.pipe.close()).await
        })
    }

    fn limit(&self) -> Duration {
        SERIAL_LIMIT
    }
}

/// A TCP server.
pub struct TcpServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Opener for TcpServer {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok((format!("{}:{}", self.host, self.port), None))))
    }

    fn open<'a>(&'a self, _port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let addresses = match address(&self.host, self.port) {
                Some(address) => vec![address],
                None => {
                    // The system's resolver blocks for as long as it likes; it may do so on a thread of its own, with a name.
                    let thread = format!("labtether-resolve-{}", attempt.name);
                    let (host, port) = (self.host.clone(), self.port);
                    attempt.on_thread(&thread, move || resolve(&host, port), drop).await?
                }
            };
            tokio::select! {
                biased;
                opened = open_tcp(&addresses) => opened,
                () = attempt.given_up.cancelled() => Err(OpenError::new(OpenKind::Refused, "given up")),
            }
        })
    }

    fn limit(&self) -> Duration {
        self.connect_timeout
    }
}
