//! USB devices: looked for and opened on threads, as both block.

use std::time::Duration;

use super::{Attempt, Later, Opener};
use crate::error::OpenError;
use crate::framing::Packets;
use crate::transport::Opened;
use crate::transport::packets::{Joined, Manner};
use crate::transport::usb::{Endpoints, Wanted, devices, find_device, open_usb};

/// Two bulk endpoints of a USB device.
pub struct UsbDevice {
    /// Which device, and which interface of it.
    pub wanted: Wanted,
    /// Which endpoints.
    pub endpoints: Endpoints,
    /// Each packet is a message; else they are joined.
    pub packets: bool,
    /// The most that one transfer brings.
    pub transfer_size: usize,
    /// End messages that fill their last packet with a packet of no bytes.
    pub zero_packet: bool,
}

/// Opening takes milliseconds; a device that has not answered by then does not.
const LIMIT: Duration = Duration::from_secs(10);

impl UsbDevice {
    fn manner(&self) -> Manner {
        let marked = Joined::Marked { packet: Packets::mark, refusal: Packets::mark_refusal };
        let joined = if self.packets { marked } else { Joined::Stream };
        Manner { joined, transfer_size: self.transfer_size, zero_packet: self.zero_packet }
    }
}

impl Opener for UsbDevice {
    fn find<'a>(&'a self, attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(async move {
            let thread = format!("labtether-list-{}", attempt.name);
            let there = attempt.on_thread(&thread, || Ok(devices()), drop).await?;
            let found = there.get(find_device(&self.wanted, &there)?);
            Ok((self.wanted.to_string(), found.map(|device| device.berth(self.wanted.interface))))
        })
    }

    fn open<'a>(&'a self, _port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let thread = format!("labtether-open-{}", attempt.name);
            let (wanted, endpoints, manner) = (self.wanted.clone(), self.endpoints, self.manner());
            let aside = attempt.aside(format!("labtether-usb-{}", attempt.name));
            let work = move || open_usb(&wanted, endpoints, manner, aside);
            // Nobody waited for it: it is closed there, as if it had never been opened.
            attempt.on_thread(&thread, work, |opened: Opened| opened.pipe.close()).await
        })
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    fn keeps_packets(&self) -> bool {
        self.packets
    }
}
