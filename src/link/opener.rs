//! How a link gets its pipe: found first (which device?), then opened. Waits and deadlines are the session's.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

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
    fn find<'a>(&'a self, place: &'a Place) -> Later<'a, Result<(String, Option<u64>), OpenError>>;

    /// Opens what `find` found. `name` is for threads.
    fn open<'a>(&'a self, port: &'a str, name: &'a str, place: &'a Place) -> Later<'a, Result<Opened, OpenError>>;

    /// How long opening may take.
    fn limit(&self) -> Duration;
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
    fn find<'a>(&'a self, place: &'a Place) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(async move {
            let path = match &self.port {
                PortName::Path(path) => path.clone(),
                PortName::Usb(usb) => {
                    let (census, parent) = (place.nursery.census(), Some(place.nursery.id()));
                    let listed = on_thread(census, parent, "labtether-list-ports", ports, drop).await;
                    usb.resolve(&listed.ok().flatten().unwrap_or_default())?
                }
            };
            let device = device_number(&path);
            Ok((path, device))
        })
    }

    fn open<'a>(&'a self, port: &'a str, name: &'a str, place: &'a Place) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let thread = format!("labtether-open-{name}");
            let (path, settings, runtime) = (port.to_owned(), self.settings.clone(), place.runtime.clone());
            let work = move || open_serial(&path, &settings, &runtime);
            // Nobody waited for it: it is closed there, as if it had never been opened.
            let unwanted = |opened: Result<Opened, OpenError>| {
                if let Ok(opened) = opened {
                    opened.pipe.close();
                }
            };
            let opened = on_thread(place.nursery.census(), Some(place.nursery.id()), &thread, work, unwanted).await;
            match opened {
                Ok(Some(opened)) => opened,
                Ok(None) => Err(OpenError::new(OpenKind::Unsupported, format!("thread {thread} panicked"))),
                Err(error) => Err(OpenError {
                    kind: OpenKind::Refused,
                    why: format!("no thread to open it on: {error}"),
                    errno: error.raw_os_error(),
                }),
            }
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

impl TcpServer {
    /// The system's resolver blocks for as long as it likes; it may do so on a thread of its own, with a name.
    async fn resolve(&self, name: &str, place: &Place) -> Result<Vec<SocketAddr>, OpenError> {
        let thread = format!("labtether-resolve-{name}");
        let (host, port) = (self.host.clone(), self.port);
        let work = move || resolve(&host, port);
        let found = on_thread(place.nursery.census(), Some(place.nursery.id()), &thread, work, drop).await;
        found
            .ok()
            .flatten()
            .unwrap_or_else(|| Err(OpenError::new(OpenKind::Missing, format!("thread {thread} did not run"))))
    }
}

impl Opener for TcpServer {
    fn find<'a>(&'a self, _place: &'a Place) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok((format!("{}:{}", self.host, self.port), None))))
    }

    fn open<'a>(&'a self, _port: &'a str, name: &'a str, place: &'a Place) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let addresses = match address(&self.host, self.port) {
                Some(address) => vec![address],
                None => self.resolve(name, place).await?,
            };
            open_tcp(&addresses).await
        })
    }

    fn limit(&self) -> Duration {
        self.connect_timeout
    }
}
