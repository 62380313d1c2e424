//! Links to what is not a port of this machine's system: serial ports behind RFC 2217.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::options::{common, parity_of, stop_bits_of};
use super::values::span;
use super::wire::Wire;
use crate::link::opener::{Rfc2217Server, TcpServer};
use crate::transport::serial::SerialSettings;
use crate::transport::tcp::TcpSettings;

/// A closed link to a serial port behind an RFC 2217 server.
#[pyfunction]
#[pyo3(signature = (host, port, connect_timeout, baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr, dtr, rts, options))]
#[expect(clippy::too_many_arguments, reason = "pyserial's settings, one each")]
pub(super) fn rfc2217_link(
    host: String,
    port: u16,
    connect_timeout: f64,
    baudrate: u32,
    bytesize: u8,
    parity: &str,
    stopbits: f64,
    xonxoff: bool,
    rtscts: bool,
    dsrdtr: bool,
    dtr: Option<bool>,
    rts: Option<bool>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Wire> {
    let (parity, stopbits) = (parity_of(parity)?, stop_bits_of(stopbits)?);
    let unlike_a_port = SerialSettings::default();
    let settings =
        SerialSettings { baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr, dtr, rts, ..unlike_a_port };
    let server = TcpServer { host, port, connect_timeout: span(connect_timeout)?, settings: TcpSettings::default() };
    Ok(Wire::new(common(Box::new(Rfc2217Server { server, settings }), options)?))
}
