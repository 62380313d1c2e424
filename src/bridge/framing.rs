//! Framings and checksums as Python makes them: arguments checked there, converted here.

use bytes::{Bytes, BytesMut};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyTraverseError, PyVisit};

use super::clerk;
use super::errors::{bad_message, unframed};
use super::values::span;
use crate::framing::catalogue::{self, Crc};
use crate::framing::checksum::{Checksum, Covers, Function, Order, Place, Style};
use crate::framing::oracle::Inquiry;
use crate::framing::{
    BadFraming, Enclosed, Fixed, Framing, IeeeBlock, LengthPrefixed, Lines, ModbusRtu, Own, Packets, Stuffed, Stuffing,
    UntilQuiet,
};

/// A framing, checked. Keeps the user's functions alive that it asks.
#[pyclass(frozen, name = "Framing", module = "labtether._core")]
pub(super) struct PyFraming {
    framing: Framing,
    functions: Vec<Py<PyAny>>,
}

/// A checksum, checked.
#[pyclass(frozen, name = "Checksum", module = "labtether._core")]
pub(super) struct PyChecksum {
    checksum: Checksum,
    function: Option<Py<PyAny>>,
}

fn refused(error: BadFraming) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn framed<F: Into<Framing>>(
    framing: Result<F, BadFraming>,
    sum: Option<&Bound<'_, PyChecksum>>,
) -> PyResult<PyFraming> {
    let function = sum.and_then(|sum| sum.get().function.as_ref().map(|function| function.clone_ref(sum.py())));
    let framing = framing.map_err(refused)?.into();
    Ok(PyFraming { framing, functions: function.into_iter().collect() })
}

fn checksum_of(sum: Option<&Bound<'_, PyChecksum>>) -> Option<Checksum> {
    sum.map(|sum| sum.get().checksum.clone())
}

impl PyFraming {
    /// For another link, or another reply: it remembers nothing of this one's stream.
    pub(super) fn fresh(&self) -> Framing {
        self.framing.fresh()
    }
}

#[pymethods]
impl PyFraming {
    /// Messages that end in one of `ends`.
    #[staticmethod]
    #[pyo3(signature = (ends, sent_end, keep, most, count, escape, sum))]
    fn lines(
        ends: Vec<Vec<u8>>,
        sent_end: Option<Vec<u8>>,
        keep: bool,
        most: usize,
        count: usize,
        escape: Option<u8>,
        sum: Option<&Bound<'_, PyChecksum>>,
    ) -> PyResult<PyFraming> {
        let ends = ends.into_iter().map(Bytes::from).collect();
        let lines = || {
            let mut lines = Lines::new(ends, sent_end.map(Bytes::from), keep, most)?;
            lines = lines.counting(count)?;
            if let Some(escape) = escape {
                lines = lines.escaping(escape)?;
            }
            match checksum_of(sum) {
                Some(checksum) => lines.with_checksum(checksum),
                None => Ok(lines),
            }
        };
        framed(lines(), sum)
    }

    /// Messages of `size` bytes; None: nobody has said yet.
    #[staticmethod]
    #[pyo3(signature = (size, sum))]
    fn fixed(size: Option<usize>, sum: Option<&Bound<'_, PyChecksum>>) -> PyResult<PyFraming> {
        framed(Fixed::new(size, checksum_of(sum)), sum)
    }

    /// Messages whose length a field says.
    #[staticmethod]
    #[pyo3(signature = (size, order, offset, adjust, max_length, sum))]
    fn length_prefixed(
        size: usize,
        order: &str,
        offset: usize,
        adjust: i64,
        max_length: usize,
        sum: Option<&Bound<'_, PyChecksum>>,
    ) -> PyResult<PyFraming> {
        let order = order_of(order)?;
        framed(LengthPrefixed::new(size, order, offset, adjust, max_length, checksum_of(sum)), sum)
    }

    /// Messages between `start` and `end`.
    #[staticmethod]
    #[pyo3(signature = (start, end, escape, max_length, sum))]
    fn enclosed(
        start: Vec<u8>,
        end: Vec<u8>,
        escape: Option<u8>,
        max_length: usize,
        sum: Option<&Bound<'_, PyChecksum>>,
    ) -> PyResult<PyFraming> {
        framed(Enclosed::new(start.into(), end.into(), escape, max_length, checksum_of(sum)), sum)
    }

    /// Blocks of IEEE 488.2.
    #[staticmethod]
    fn ieee_block(terminator: Vec<u8>, max_length: usize) -> PyResult<PyFraming> {
        framed(IeeeBlock::new(terminator.into(), max_length), None)
    }

    /// Modbus RTU.
    #[staticmethod]
    fn modbus_rtu() -> PyResult<PyFraming> {
        framed(ModbusRtu::new(), None)
    }

    /// Packets of a pipe that has them.
    #[staticmethod]
    fn packets() -> PyResult<PyFraming> {
        framed(Ok(Packets), None)
    }

    /// Messages that end with silence.
    #[staticmethod]
    #[pyo3(signature = (seconds, max_length, sum))]
    fn until_quiet(seconds: f64, max_length: usize, sum: Option<&Bound<'_, PyChecksum>>) -> PyResult<PyFraming> {
        framed(UntilQuiet::new(span(seconds)?, max_length, checksum_of(sum)), sum)
    }

    /// SLIP, or COBS.
    #[staticmethod]
    #[pyo3(signature = (slip, max_length, sum))]
    fn stuffed(slip: bool, max_length: usize, sum: Option<&Bound<'_, PyChecksum>>) -> PyResult<PyFraming> {
        let stuffing = if slip { Stuffing::Slip } else { Stuffing::Cobs };
        framed(Stuffed::new(stuffing, max_length, checksum_of(sum)), sum)
    }

    /// The user's own. `take` says how many bytes it removed (8 bytes, little end first), then 1 and the message if there is one.
    #[staticmethod]
    fn own(name: String, encode: Bound<'_, PyAny>, take: Bound<'_, PyAny>, max_length: usize) -> PyResult<PyFraming> {
        let (encoding, taking) =
            (clerk::oracle(&encode, "the framing's encode()")?, clerk::oracle(&take, "the framing's take()")?);
        let own = Own::new(name, encoding, taking, max_length).map_err(refused)?;
        Ok(PyFraming { framing: own.into(), functions: vec![encode.unbind(), take.unbind()] })
    }

    /// What goes on the wire for `body`.
    fn encode<'py>(&self, py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let frame = self.framing.encode(body).map_err(|error| bad_message(py, &error))?;
        Ok(PyBytes::new(py, &frame))
    }

    /// The first message in `received`, if there is a whole one, and how many bytes are used up. Raises after `on_removed` was told
    /// how many bytes an error removed.
    fn take<'py>(
        &self,
        py: Python<'py>,
        received: &[u8],
        on_removed: &Bound<'_, PyAny>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, usize)> {
        let mut left = BytesMut::from(received);
        let taken = self.framing.on_the_spot().take(&mut left);
        let removed = received.len() - left.len();
        match taken {
            Ok(body) => Ok((body.map(|body| PyBytes::new(py, &body)), removed)),
            Err(error) => {
                on_removed.call1((removed,))?;
                Err(unframed(py, &error))
            }
        }
    }

    fn __repr__(&self) -> String {
        format!("<Framing {}>", self.framing.describe())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.iter().try_for_each(|function| visit.call(function))
    }
}

fn order_of(order: &str) -> PyResult<Order> {
    match order {
        "little" => Ok(Order::Little),
        "big" => Ok(Order::Big),
        other => Err(PyValueError::new_err(format!("order is 'little' or 'big', not {other:?}"))),
    }
}

#[pymethods]
impl PyChecksum {
    /// One of the catalogue.
    #[staticmethod]
    #[pyo3(signature = (name, order, encode, place, covers))]
    fn crc(name: &str, order: Option<&str>, encode: &str, place: &str, covers: &str) -> PyResult<PyChecksum> {
        let crc = Crc::named(name).ok_or_else(|| refused(BadFraming::NoSuchCrc(name.to_owned())))?;
        let own = if crc.is_reflected() { Order::Little } else { Order::Big };
        PyChecksum::new(Function::Crc(crc), None, order.map_or(Ok(own), order_of)?, encode, place, covers)
    }

    /// "Sum8", "Sum16" or "Xor8".
    #[staticmethod]
    #[pyo3(signature = (kind, order, encode, place, covers))]
    fn sum(kind: &str, order: Option<&str>, encode: &str, place: &str, covers: &str) -> PyResult<PyChecksum> {
        let function = match kind {
            "Sum8" => Function::Sum8,
            "Sum16" => Function::Sum16,
            "Xor8" => Function::Xor8,
            other => return Err(PyValueError::new_err(format!("there is no sum {other:?}"))),
        };
        PyChecksum::new(function, None, order.map_or(Ok(Order::Big), order_of)?, encode, place, covers)
    }

    /// The user's own: a function of bytes to bytes in the order in which they are sent.
    #[staticmethod]
    #[pyo3(signature = (function, size, order, encode, place, covers))]
    fn own(
        function: Bound<'_, PyAny>,
        size: usize,
        order: Option<&str>,
        encode: &str,
        place: &str,
        covers: &str,
    ) -> PyResult<PyChecksum> {
        let inquiry = Inquiry::of(clerk::oracle(&function, "the checksum's function")?);
        let order = order.map_or(Ok(Order::Big), order_of)?;
        PyChecksum::new(Function::Own { inquiry, size }, Some(function.unbind()), order, encode, place, covers)
    }

    /// How many bytes it has on the wire.
    #[getter]
    fn width(&self) -> usize {
        self.checksum.width()
    }

    /// What people call it.
    #[getter]
    fn name(&self) -> &str {
        self.checksum.name()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.function.iter().try_for_each(|function| visit.call(function))
    }
}

impl PyChecksum {
    fn new(
        function: Function,
        asked: Option<Py<PyAny>>,
        order: Order,
        encode: &str,
        place: &str,
        covers: &str,
    ) -> PyResult<PyChecksum> {
        let style = match encode {
            "raw" => Style::Raw,
            "hex" => Style::Hex { capital: false },
            "HEX" => Style::Hex { capital: true },
            "decimal" => Style::Decimal,
            other => return Err(PyValueError::new_err(format!("encode is raw, hex, HEX or decimal, not {other:?}"))),
        };
        let place = match place {
            "before_end" => Place::BeforeEnd,
            "after_end" => Place::AfterEnd,
            other => return Err(PyValueError::new_err(format!("place is before_end or after_end, not {other:?}"))),
        };
        let covers = match covers {
            "body" => Covers::Body,
            "with_start" => Covers::WithStart,
            "with_both" => Covers::WithBoth,
            other => {
                return Err(PyValueError::new_err(format!("covers is body, with_start or with_both, not {other:?}")));
            }
        };
        let checksum = Checksum { function, order, style, place, covers }.check().map_err(refused)?;
        Ok(PyChecksum { checksum, function: asked })
    }
}

/// The names of the catalogue of CRCs.
#[pyfunction]
pub(super) fn crc_names() -> Vec<String> {
    catalogue::names()
}
