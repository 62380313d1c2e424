//! Links as they are made: closed, with everything that was asked of them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::options::{common, parity_of, stop_bits_of};
use super::values::span;
use super::wire::Wire;
use crate::lifecycle::SimulatedPort;
use crate::link::opener::{PortName, SerialPort, TcpServer};
use crate::transport::ports::Usb;
use crate::transport::serial::SerialSettings;

/// Of a USB adapter: vid, pid, serial number, interface.
type Identity = (Option<u16>, Option<u16>, Option<String>, Option<u8>);

/// A closed serial link. `port` is a path, or (vid, pid, serial_number, interface).
#[pyfunction]
#[pyo3(signature = (path, usb, baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr, exclusive, dtr, rts, options))]
#[expect(clippy::too_many_arguments, reason = "pyserial's settings, one each")]
pub(super) fn serial_link(
    path: Option<String>,
    usb: Option<Identity>,
    baudrate: u32,
    bytesize: u8,
    parity: &str,
    stopbits: f64,
    xonxoff: bool,
    rtscts: bool,
    dsrdtr: bool,
    exclusive: bool,
    dtr: Option<bool>,
    rts: Option<bool>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Wire> {
    let (parity, stopbits) = (parity_of(parity)?, stop_bits_of(stopbits)?);
    let settings =
        SerialSettings { baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr, exclusive, dtr, rts };
    let port = match (path, usb) {
        (Some(path), _) => PortName::Path(path),
        (None, Some((vid, pid, serial_number, interface))) => PortName::Usb(Usb { vid, pid, serial_number, interface }),
        (None, None) => return Err(PyValueError::new_err("a serial link needs a port")),
    };
    Ok(Wire::new(common(Box::new(SerialPort { port, settings }), options)?))
}

/// A closed TCP link.
#[pyfunction]
pub(super) fn tcp_link(host: String, port: u16, connect_timeout: f64, options: &Bound<'_, PyDict>) -> PyResult<Wire> {
    let opener = TcpServer { host, port, connect_timeout: span(connect_timeout)? };
    Ok(Wire::new(common(Box::new(opener), options)?))
}

/// A closed link to a simulated instrument in this process.
#[pyfunction]
pub(super) fn simulated_link(instrument: &str, options: &Bound<'_, PyDict>) -> PyResult<Wire> {
    let opener = SimulatedPort::named(instrument).map_err(PyValueError::new_err)?;
    Ok(Wire::new(common(Box::new(opener), options)?))
}
