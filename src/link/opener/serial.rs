//! Serial ports: by path, or by the identity of their USB adapter.

use std::time::Duration;

use super::{Attempt, Later, Opener};
use crate::error::OpenError;
use crate::transport::Opened;
use crate::transport::ports::{Usb, ports};
use crate::transport::serial::{SerialSettings, device_number, open_serial};

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
            let aside = attempt.aside(format!("labtether-line-{}", attempt.name));
            let work = move || open_serial(&path, &settings, &runtime, aside);
            // Nobody waited for it: it is closed there, as if it had never been opened.
            attempt.on_thread(&thread, work, |opened: Opened| opened.pipe.close()).await
        })
    }

    fn limit(&self) -> Duration {
        SERIAL_LIMIT
    }
}
