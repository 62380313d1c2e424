//! A simulated instrument, for Python: on a real pseudo-terminal, a port of this machine, or in memory, so that any library can be on the
//! other end. What it says is found in `script.rs`, and in `simulate`.

mod player;
mod script;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::to_python;
use super::faults::{PyFault, in_force};
use super::seats::lend;
use super::values::TraceRow;
use crate::lifecycle::{Engine, doors, engine};
use crate::nursery::thread::Parker;
use crate::simulate::devices::device;
use crate::simulate::{Instrument, Look, Memory, Net, Outside, Served, Terminal, serve_outside};

pub(super) use player::PyPlayer;
pub(super) use script::{PyPart, PyScript};

/// See the module. Ends when it is stopped, or with its last reference.
#[pyclass(frozen, module = "labtether._core")]
pub(super) struct Simulation {
    served: Served,
    /// Of a network, the port; else 0.
    port: u16,
    /// In memory, the name it is found by, until it is stopped.
    door: Mutex<Option<doors::Door>>,
    over: Arc<AtomicBool>,
}

/// How things stand: what the host has not read, whether that holds a reply, half a command, whether a reply is still to come, the line's
/// settings, whether somebody is connected.
type Standing<'py> =
    (Bound<'py, PyBytes>, bool, Bound<'py, PyBytes>, bool, Option<(u32, u8, char, f64, bool, bool)>, bool);

/// How often it is looked whether the service has done what it was told, and how long that may take.
const LOOK: Duration = Duration::from_micros(500);
const LOOKS: u32 = 4_000;

fn refused(error: &std::io::Error) -> PyErr {
    let why = format!("the simulated instrument has no place to be: {error}");
    error
        .raw_os_error()
        .map_or_else(|| PyOSError::new_err(why.clone()), |errno| PyOSError::new_err((errno, why.clone())))
}

/// Where an instrument is to be found: its name, the transport, the `path` of a pseudo-terminal, the `port` of this machine (0: any that is
/// free); in memory it is found under its name. And what goes wrong on the way to its host.
type Spot<'py> = (String, String, PathBuf, u16, Vec<Bound<'py, PyFault>>);

/// Puts `instrument` at `spot`.
fn serve_at(py: Python<'_>, instrument: impl Instrument + 'static, spot: Spot<'_>) -> PyResult<Simulation> {
    let (name, transport, path, port, faults) = spot;
    let engine: &Engine = engine().map_err(|error| to_python(py, &error, true))?;
    if transport != "memory" && engine.clock().is_virtual() {
        return Err(PyRuntimeError::new_err(
            "virtual time covers instruments in memory only (transport=\"memory\"): whoever comes to a real port waits by the kernel's clock",
        ));
    }
    let faults = in_force(&faults);
    let _inside = engine.place().runtime.enter();
    let (mut outside, port, door): (Box<dyn Outside>, u16, Option<doors::Door>) = match transport.as_str() {
        "pty" => (Box::new(Terminal::at(path)), 0, None),
        "tcp" | "rfc2217" => {
            let net = Net::open(port, transport == "rfc2217").map_err(|error| refused(&error))?;
            let port = net.port();
            (Box::new(net), port, None)
        }
        "memory" => {
            let (memory, door) = Memory::new();
            let door = doors::put_up(&name, door).map_err(PyValueError::new_err)?;
            (Box::new(memory), 0, Some(door))
        }
        _ => return Err(PyValueError::new_err(format!("transport is pty, tcp, rfc2217 or memory, not {transport:?}"))),
    };
    let pipe = outside.plug().map_err(|error| refused(&error))?;
    let (served, service) = serve_outside(instrument, outside, pipe, faults, engine.clock().clone());
    let over = Arc::new(AtomicBool::new(false));
    let when_over = over.clone();
    engine.spawn(&format!("simulated {name}"), async move {
        service.await;
        when_over.store(true, Ordering::Release);
    });
    Ok(Simulation { served, port, door: Mutex::new(door), over })
}

impl Simulation {
    /// Waits until everything it was told is done.
    fn settled(&self, py: Python<'_>) -> PyResult<Look> {
        let place = self.served.look();
        lend(py, || {
            let parker = Parker::here();
            for _ in 0..LOOKS {
                if let Some(look) = place.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    return Ok(look);
                }
                if self.over.load(Ordering::Acquire) {
                    return Ok(Look::default());
                }
                parker.nap(LOOK);
            }
            Err(PyRuntimeError::new_err("the simulated instrument does not do what it is told"))
        })
    }
}

#[pymethods]
impl Simulation {
    /// One that follows a script.
    #[staticmethod]
    fn script(script: &Bound<'_, PyScript>, spot: Spot<'_>) -> PyResult<Simulation> {
        serve_at(script.py(), script.get().played(), spot)
    }

    /// One that plays a conversation again.
    #[staticmethod]
    fn player(player: &Bound<'_, PyPlayer>, spot: Spot<'_>) -> PyResult<Simulation> {
        serve_at(player.py(), player.get().0.clone(), spot)
    }

    /// One of the devices that there are, as `asked`.
    #[staticmethod]
    fn device(py: Python<'_>, kind: &str, asked: BTreeMap<String, String>, spot: Spot<'_>) -> PyResult<Simulation> {
        let device = device(kind, &asked).map_err(PyValueError::new_err)?;
        serve_at(py, device.instrument, spot)
    }

    /// Of a network, the port it listens on.
    #[getter]
    fn port(&self) -> u16 {
        self.port
    }

    /// The commands it has heard, without terminators.
    fn heard<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.served.heard().iter().map(|command| PyBytes::new(py, command)).collect()
    }

    /// What went over its wire: (epoch, monotonic, direction, data, note).
    fn wire<'py>(&self, py: Python<'py>) -> Vec<TraceRow<'py>> {
        let row = |event: &crate::simulate::Event| {
            let (epoch, moment) = (event.at.epoch.as_secs_f64(), event.at.moment.since_zero().as_secs_f64());
            (epoch, moment, event.direction.sign(), PyBytes::new(py, &event.data), event.note.to_owned())
        };
        self.served.wire().iter().map(row).collect()
    }

    /// How things stand.
    fn standing<'py>(&self, py: Python<'py>) -> PyResult<Standing<'py>> {
        let look = self.settled(py)?;
        let settings = look
            .settings
            .map(|line| (line.baudrate, line.bytesize, line.parity, line.stopbits, line.xonxoff, line.rtscts));
        let (unread, partial) = (PyBytes::new(py, &look.unread), PyBytes::new(py, &look.partial));
        Ok((unread, look.unread_reply, partial, look.owes, settings, look.connected))
    }

    /// Pulls the cable; done when this returns.
    fn disconnect(&self, py: Python<'_>) -> PyResult<()> {
        self.served.disconnect();
        self.settled(py).map(drop)
    }

    /// Plugs it in again where it was.
    fn reconnect(&self, py: Python<'_>) -> PyResult<()> {
        self.served.replug();
        self.settled(py).map(drop)
    }

    /// Switches it off and on.
    fn power_cycle(&self, py: Python<'_>) -> PyResult<()> {
        self.served.power_cycle();
        self.settled(py).map(drop)
    }

    /// Its script has more to say.
    fn nudge(&self) {
        self.served.nudge();
    }

    /// Switches it off. Waits until its side of the wire is closed.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        drop(self.door.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.served.stop();
        lend(py, || {
            let parker = Parker::here();
            for _ in 0..LOOKS {
                if self.over.load(Ordering::Acquire) {
                    return Ok(());
                }
                parker.nap(LOOK);
            }
            Err(PyRuntimeError::new_err("the simulated instrument did not stop within 2 s"))
        })
    }
}
