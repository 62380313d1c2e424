//! Links to USB devices.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::framing::PyFraming;
use super::options::common;
use super::wire::Wire;
use crate::link::opener::UsbDevice;
use crate::transport::usb::{Endpoints, Wanted};

/// A closed link to two bulk endpoints of a USB device: (vid, pid, serial_number, interface) and (read, write). Whether packets are messages
/// is its framing's to say.
#[pyfunction]
#[pyo3(signature = (device, endpoints, transfer_size, zero_packet, options))]
pub(super) fn usb_link(
    device: (u16, u16, Option<String>, u8),
    endpoints: (Option<u8>, Option<u8>),
    transfer_size: usize,
    zero_packet: bool,
    options: &Bound<'_, PyDict>,
) -> PyResult<Wire> {
    let (vid, pid, serial_number, interface) = device;
    let framing = options.get_item("framing")?.filter(|framing| !framing.is_none());
    let packets = match framing {
        Some(framing) => framing.cast::<PyFraming>()?.get().fresh().wants_packets(),
        None => false,
    };
    let opener = UsbDevice {
        wanted: Wanted { vid, pid, serial_number, interface },
        endpoints: Endpoints { read: endpoints.0, write: endpoints.1 },
        packets,
        transfer_size,
        zero_packet,
    };
    Ok(Wire::new(common(Box::new(opener), options)?))
}
