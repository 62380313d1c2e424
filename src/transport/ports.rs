//! Which serial ports there are, and which of them a description means. Looks only; nothing is opened here.

use std::path::Path;

use tokio_serial::SerialPortType;

use crate::error::{OpenError, OpenKind};

/// A serial port of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// The path to open.
    pub device: String,
    /// Its last part.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// USB vendor.
    pub vid: Option<u16>,
    /// USB product.
    pub pid: Option<u16>,
    /// The USB device's serial number.
    pub serial_number: Option<String>,
    /// Who made the USB device, as it says itself.
    pub manufacturer: Option<String>,
    /// What the USB device is, as it says itself.
    pub product: Option<String>,
    /// The USB interface, where one device has several ports.
    pub interface: Option<u8>,
    /// Where the USB device is plugged in: bus, and the ports on the way.
    pub location: Option<String>,
}

/// The serial ports there are, by path. Blocks for as long as the scan takes.
pub fn ports() -> Vec<PortInfo> {
    // serialport panics where a container has no /sys.
    if cfg!(target_os = "linux") && !Path::new("/sys/class/tty").is_dir() {
        return Vec::new();
    }
    let mut found: Vec<PortInfo> = tokio_serial::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| described(port.port_name, port.port_type))
        .filter(|port| exists(&port.name))
        .collect();
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// Drivers list what a machine could have: on Linux, a port of type 0 has no chip. macOS lists each port twice; the `tty.` one waits for a
/// carrier when it is opened.
fn exists(name: &str) -> bool {
    if cfg!(target_os = "macos") {
        return !name.starts_with("tty.");
    }
    let chip = std::fs::read_to_string(Path::new("/sys/class/tty").join(name).join("type"));
    chip.map_or(true, |chip| chip.trim() != "0")
}

fn described(device: String, kind: SerialPortType) -> PortInfo {
    let name = device.rsplit('/').next().unwrap_or(&device).to_owned();
    let mut port = PortInfo {
        description: name.clone(),
        device,
        vid: None,
        pid: None,
        serial_number: None,
        manufacturer: None,
        product: None,
        interface: None,
        location: None,
        name,
    };
    match kind {
        SerialPortType::UsbPort(usb) => {
            port.description = usb.product.clone().or(usb.manufacturer.clone()).unwrap_or("USB serial port".to_owned());
            (port.vid, port.pid) = (Some(usb.vid), Some(usb.pid));
            (port.serial_number, port.manufacturer, port.product) = (usb.serial_number, usb.manufacturer, usb.product);
            (port.location, port.interface) = place_of(&Path::new("/sys/class/tty").join(&port.name));
        }
        SerialPortType::BluetoothPort => port.description = "Bluetooth serial port".to_owned(),
        SerialPortType::PciPort => port.description = "PCI serial port".to_owned(),
        SerialPortType::Unknown => {}
    }
    port
}

/// Location and interface of a USB port, from where the kernel keeps its device (Linux; elsewhere nothing is there).
fn place_of(class: &Path) -> (Option<String>, Option<u8>) {
    let Ok(device) = class.join("device").canonicalize() else { return (None, None) };
    // .../usb1/1-2/1-2.4/1-2.4:1.0/ttyUSB0: the last folder with a colon is the interface.
    let folder = device.ancestors().find(|folder| folder.join("bInterfaceNumber").is_file());
    let Some(folder) = folder else { return (None, None) };
    let location = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.split(':').next());
    let number = std::fs::read_to_string(folder.join("bInterfaceNumber")).ok();
    (location.map(str::to_owned), number.and_then(|number| u8::from_str_radix(number.trim(), 16).ok()))
}

/// A USB adapter, whatever path it has got today. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usb {
    /// Vendor.
    pub vid: Option<u16>,
    /// Product.
    pub pid: Option<u16>,
    /// Serial number.
    pub serial_number: Option<String>,
    /// Interface, where one device has several ports.
    pub interface: Option<u8>,
}

impl Usb {
    /// Whether `port` is on such an adapter.
    pub fn matches(&self, port: &PortInfo) -> bool {
        fn agree<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        port.vid.is_some()
            && agree(&self.vid, &port.vid)
            && agree(&self.pid, &port.pid)
            && agree(&self.serial_number, &port.serial_number)
            && agree(&self.interface, &port.interface)
    }

    /// The path of the only one of `ports` that matches.
    ///
    /// *Errors*: `Missing` with the ports there are; `Ambiguous` with those that match.
    pub fn resolve(&self, ports: &[PortInfo]) -> Result<String, OpenError> {
        let matching: Vec<&PortInfo> = ports.iter().filter(|port| self.matches(port)).collect();
        match matching.as_slice() {
            [one] => Ok(one.device.clone()),
            [] => Err(OpenError::new(
                OpenKind::Missing,
                format!("no USB adapter {self} is plugged in; {}", there_are(ports)),
            )),
            several => Err(OpenError::new(
                OpenKind::Ambiguous,
                format!(
                    "{} ports are a USB adapter {self}: {}; say which with serial_number= or interface=",
                    several.len(),
                    listed(several.iter().copied())
                ),
            )),
        }
    }
}

impl std::fmt::Display for Usb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = [
            self.vid.map(|vid| format!("vid=0x{vid:04x}")),
            self.pid.map(|pid| format!("pid=0x{pid:04x}")),
            self.serial_number.as_ref().map(|number| format!("serial_number={number:?}")),
            self.interface.map(|interface| format!("interface={interface}")),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        if said.is_empty() { f.write_str("of any kind") } else { write!(f, "with {}", said.join(", ")) }
    }
}

/// The ports there are, as the end of a sentence.
pub(super) fn there_are(ports: &[PortInfo]) -> String {
    match ports {
        [] => "this machine has no serial ports".to_owned(),
        [one] => format!("there is {}", listed([one])),
        several => format!("there are {}", listed(several)),
    }
}

fn listed<'a>(ports: impl IntoIterator<Item = &'a PortInfo>) -> String {
    let said = ports.into_iter().map(|port| {
        let mut traits = Vec::new();
        if port.description != port.name {
            traits.push(port.description.clone());
        }
        if let (Some(vid), Some(pid)) = (port.vid, port.pid) {
            traits.push(format!("{vid:04x}:{pid:04x}"));
        }
        traits.extend(port.serial_number.as_ref().map(|number| format!("serial number {number}")));
        traits.extend(port.interface.map(|interface| format!("interface {interface}")));
        if traits.is_empty() { port.device.clone() } else { format!("{} ({})", port.device, traits.join(", ")) }
    });
    said.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    #[test]
    fn the_place_of_a_usb_port_is_read_from_the_kernels_tree() {
        let root = std::env::temp_dir().join(format!("labtether-ports-{}", std::process::id()));
        let interface = root.join("usb1/1-2/1-2.4/1-2.4:1.1");
        let class = root.join("class/ttyUSB0");
        fs::create_dir_all(interface.join("ttyUSB0")).unwrap();
        fs::create_dir_all(&class).unwrap();
        fs::write(interface.join("bInterfaceNumber"), "01\n").unwrap();
        std::os::unix::fs::symlink(interface.join("ttyUSB0"), class.join("device")).unwrap();
        let place = place_of(&class);
        let nowhere = place_of(&root.join("class/ttyS0"));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(place, (Some("1-2.4".to_owned()), Some(1)));
        assert_eq!(nowhere, (None, None));
    }
}
