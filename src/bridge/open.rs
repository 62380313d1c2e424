//! Links as they are made: closed, with everything that was asked of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::options::{common, parity_of, stop_bits_of};
use super::values::span;
use super::wire::Wire;
use crate::lifecycle::SimulatedPort;
use crate::lifecycle::doors::DoorPort;
use crate::link::opener::{PortName, SerialPort, TcpServer};
use crate::transport::ports::Usb;
use crate::transport::serial::{Rs485, SerialSettings};
use crate::transport::tcp::TcpSettings;
use crate::transport::tls::{Pem, Tls, TlsSettings};

/// Of a USB adapter: vid, pid, serial number, interface.
type Identity = (Option<u16>, Option<u16>, Option<String>, Option<u8>);

/// For RS-485: RTS while sending and otherwise, milliseconds before and after, whether one hears oneself.
type Shared = (bool, bool, u32, u32, bool);

/// A text of PEM, and what to call it.
type Named = (String, Vec<u8>);

/// For TLS: authorities, certificate, key, whether to verify, the server's name.
type Secrecy = (Option<Named>, Option<Named>, Option<Named>, bool, String);

/// A closed serial link. `port` is a path, or (vid, pid, serial_number, interface).
#[pyfunction]
#[pyo3(signature = (path, usb, baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr, exclusive, dtr, rts, low_latency, rs485, options))]
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
    low_latency: bool,
    rs485: Option<Shared>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Wire> {
    let (parity, stopbits) = (parity_of(parity)?, stop_bits_of(stopbits)?);
    let rs485 = rs485.map(|(rts_on_send, rts_after_send, before_send, after_send, loopback)| Rs485 {
        rts_on_send,
        rts_after_send,
        before_send,
        after_send,
        loopback,
    });
    let settings = SerialSettings {
        baudrate,
        bytesize,
        parity,
        stopbits,
        xonxoff,
        rtscts,
        dsrdtr,
        exclusive,
        dtr,
        rts,
        low_latency,
        rs485,
    };
    let port = match (path, usb) {
        (Some(path), _) => PortName::Path(path),
        (None, Some((vid, pid, serial_number, interface))) => PortName::Usb(Usb { vid, pid, serial_number, interface }),
        (None, None) => return Err(PyValueError::new_err("a serial link needs a port")),
    };
    Ok(Wire::new(common(Box::new(SerialPort { port, settings }), options)?))
}

/// A closed TCP link. `tls`: whom to trust, who one is, whether to ask, and for which name.
#[pyfunction]
#[pyo3(signature = (host, port, connect_timeout, nodelay, keepalive, tls, options))]
pub(super) fn tcp_link(
    host: String,
    port: u16,
    connect_timeout: f64,
    nodelay: bool,
    keepalive: Option<f64>,
    tls: Option<Secrecy>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Wire> {
    let tls = match tls {
        Some((ca, cert, key, verify, server_name)) => {
            let pem = |given: Option<Named>| given.map(|(label, text)| Pem { label, text });
            let settings = TlsSettings { ca: pem(ca), cert: pem(cert), key: pem(key), verify, server_name };
            Some(Arc::new(Tls::new(settings).map_err(PyValueError::new_err)?))
        }
        None => None,
    };
    let settings = TcpSettings { nodelay, keepalive: keepalive.map(span).transpose()?, tls };
    let opener = TcpServer { host, port, connect_timeout: span(connect_timeout)?, settings };
    Ok(Wire::new(common(Box::new(opener), options)?))
}

/// A closed link to a simulated instrument in this process, as `asked`.
#[pyfunction]
pub(super) fn simulated_link(
    instrument: &str,
    asked: BTreeMap<String, String>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Wire> {
    if let Some(opener) = DoorPort::named(instrument) {
        if let Some(option) = asked.keys().next() {
            let why =
                format!("the simulated {instrument} is in memory already: it is not asked for {option:?} any more");
            return Err(PyValueError::new_err(why));
        }
        return Ok(Wire::new(common(Box::new(opener), options)?));
    }
    let opener = SimulatedPort::named(instrument, asked).map_err(PyValueError::new_err)?;
    Ok(Wire::new(common(Box::new(opener), options)?))
}
