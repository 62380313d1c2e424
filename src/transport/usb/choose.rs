//! Which USB device and which of its endpoints, from what is wanted and what is there; and why not, in words. Nothing is touched here.

use std::fmt;

use crate::error::{OpenError, OpenKind};

/// The device that is looked for, and the interface of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Vendor.
    pub vid: u16,
    /// Product.
    pub pid: u16,
    /// Serial number, if there may be several.
    pub serial_number: Option<String>,
    /// Interface.
    pub interface: u8,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vid, self.pid)?;
        match &self.serial_number {
            Some(number) => write!(f, ":{number}"),
            None => Ok(()),
        }
    }
}

/// A device that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Vendor.
    pub vid: u16,
    /// Product.
    pub pid: u16,
    /// Serial number.
    pub serial_number: Option<String>,
    /// As it calls itself; may be empty.
    pub name: String,
    /// Bus and address.
    pub place: String,
    /// The same as a number.
    pub number: u64,
}

/// No device file has such a number.
const BERTHS: u64 = 1 << 63;

impl Device {
    /// A number for one interface of it, unlike those of serial ports.
    pub fn berth(&self, interface: u8) -> u64 {
        BERTHS | (self.number << 8) | u64::from(interface)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x} (", self.vid, self.pid)?;
        if !self.name.is_empty() {
            write!(f, "{}, ", self.name)?;
        }
        if let Some(number) = &self.serial_number {
            write!(f, "serial number {number}, ")?;
        }
        write!(f, "at {})", self.place)
    }
}

/// Where in `there` the only device is that is `wanted`.
///
/// *Errors*: `Missing` with what there is, `Ambiguous` with those it may be.
pub fn find_device(wanted: &Wanted, there: &[Device]) -> Result<usize, OpenError> {
    let is_it = |device: &Device| {
        (device.vid, device.pid) == (wanted.vid, wanted.pid)
            && wanted.serial_number.as_ref().is_none_or(|number| device.serial_number.as_ref() == Some(number))
    };
    let places: Vec<usize> = there.iter().enumerate().filter(|(_, device)| is_it(device)).map(|(at, _)| at).collect();
    let listed = |devices: Vec<&Device>| devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match places.as_slice() {
        [one] => Ok(*one),
        [] if there.is_empty() => {
            Err(OpenError::new(OpenKind::Missing, "it is not plugged in; this machine has no USB devices"))
        }
        [] => {
            let why = format!("it is not plugged in; there are {}", listed(there.iter().collect()));
            Err(OpenError::new(OpenKind::Missing, why))
        }
        several => {
            let which = several.iter().filter_map(|&at| there.get(at)).collect();
            let why =
                format!("{} devices are {wanted}: {}; say which with serial_number=", several.len(), listed(which));
            Err(OpenError::new(OpenKind::Ambiguous, why))
        }
    }
}

/// An endpoint that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Its address.
    pub address: u8,
    /// From the device.
    pub reads: bool,
    /// It does bulk transfers.
    pub bulk: bool,
}

impl fmt::Display for EndpointInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.bulk { "bulk" } else { "not bulk" };
        write!(f, "{:#04x} ({kind}, {})", self.address, if self.reads { "in" } else { "out" })
    }
}

/// The endpoints that were asked for; `None`: the first that fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// To read from.
    pub read: Option<u8>,
    /// To write to.
    pub write: Option<u8>,
}

/// The endpoints to read from and to write to.
///
/// *Errors*: `Unsupported`, with the endpoints there are.
pub fn choose_endpoints(wanted: Endpoints, there: &[EndpointInfo]) -> Result<(u8, u8), OpenError> {
    let choose = |wanted: Option<u8>, reads: bool| {
        let fits = |endpoint: &&EndpointInfo| {
            endpoint.bulk && endpoint.reads == reads && wanted.is_none_or(|wanted| wanted == endpoint.address)
        };
        let found = there.iter().find(fits).map(|endpoint| endpoint.address);
        found.ok_or_else(|| {
            let (direction, option) = if reads { ("in", "read_endpoint") } else { ("out", "write_endpoint") };
            let which = wanted.map_or_else(String::new, |address| format!(" {address:#04x}, as {option}= says"));
            let listed: Vec<String> = there.iter().map(ToString::to_string).collect();
            let has = if listed.is_empty() { "no endpoints".to_owned() } else { listed.join(", ") };
            let why = format!("its interface has no bulk {direction} endpoint{which}; it has {has}");
            OpenError::new(OpenKind::Unsupported, why)
        })
    };
    Ok((choose(wanted.read, true)?, choose(wanted.write, false)?))
}

/// What it means that the system said `why`, and what to do about it.
pub fn refusal(wanted: &Wanted, kind: OpenKind, why: &str, errno: Option<u32>) -> OpenError {
    let why = match kind {
        OpenKind::Permission => format!(
            "{why}: this user may not use the device; put SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{:04x}\", \
             ATTR{{idProduct}}==\"{:04x}\", MODE=\"0660\", TAG+=\"uaccess\" into /etc/udev/rules.d/70-instruments.rules, run \
             'udevadm control --reload' and plug it in again",
            wanted.vid, wanted.pid
        ),
        OpenKind::InUse => format!("{why}: another program has interface {}", wanted.interface),
        _ => why.to_owned(),
    };
    OpenError { kind, why, errno: errno.and_then(|errno| i32::try_from(errno).ok()) }
}
