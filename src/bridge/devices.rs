//! Which simulated devices there are, for Python.

use pyo3::prelude::*;

use crate::simulate::devices::{MODELS, Wire};

/// A name, what it is, its serial line (baudrate, bytesize, parity, stopbits) or its TCP port, what ends a command to it
/// and a message from it, and its options: name and what it is.
type Model = (
    &'static str,
    &'static str,
    Option<(u32, u8, char, u8)>,
    Option<u16>,
    &'static str,
    &'static str,
    Vec<(&'static str, &'static str)>,
);

/// All that there are.
#[pyfunction]
pub(super) fn simulated_devices() -> Vec<Model> {
    let shown = MODELS.iter().map(|model| {
        let (line, port) = match model.wire {
            Wire::Serial { baudrate, bytesize, parity, stopbits } => {
                (Some((baudrate, bytesize, parity, stopbits)), None)
            }
            Wire::Tcp { port } => (None, Some(port)),
        };
        (model.name, model.about, line, port, model.hears, model.says, model.options.to_vec())
    });
    shown.collect()
}
