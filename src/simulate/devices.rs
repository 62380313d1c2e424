//! The simulated devices that ship with labtether: which there are, what each sits on, and what can be asked of it when
//! it is made. What one says is in a file of its own; each is pure.
//!
//! The dialogues are those that PyLabRobot's drivers hold with the real ones. Where a number, a text or a manner is not
//! told by a driver or by the manual that it follows, the comment says "ours".

mod balance;
mod cytomat;
mod lid_valet;
mod micro_spin;
mod options;
mod precise_flex;
mod xpeel;

use std::collections::BTreeMap;
use std::time::Duration;

pub use balance::Balance;

use cytomat::Cytomat;
use lid_valet::LidValet;
use micro_spin::MicroSpin;
use options::Given;
use precise_flex::PreciseFlex;
use xpeel::XPeel;

use super::{Instrument, Say};

/// How long a device takes to answer what needs no motion. Ours.
const PROMPT: Duration = Duration::from_millis(1);

/// What the real device is connected by; the simulated one is put on something like it unless it is said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A serial line: here a pseudo-terminal, which does not care about any of this.
    Serial {
        /// Bits per second.
        baudrate: u32,
        /// Data bits.
        bytesize: u8,
        /// `N`, `E` or `O`.
        parity: char,
        /// Stop bits.
        stopbits: u8,
    },
    /// A TCP server.
    Tcp {
        /// Where the real one listens.
        port: u16,
    },
}

const SERIAL_9600_8N1: Wire = Wire::Serial { baudrate: 9600, bytesize: 8, parity: 'N', stopbits: 1 };

/// A kind of device that there is.
#[derive(Debug)]
pub struct Model {
    /// What it is called in `sim://NAME`.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// What it is connected by.
    pub wire: Wire,
    /// What ends a command to it.
    pub hears: &'static str,
    /// What ends a message from it.
    pub says: &'static str,
    /// What can be asked of it when it is made, and what that is.
    pub options: &'static [(&'static str, &'static str)],
    make: fn(&Given<'_>) -> Result<Box<dyn Instrument>, String>,
}

/// A device as it was made.
pub struct Device {
    /// What it is.
    pub model: &'static Model,
    /// The device itself.
    pub instrument: Box<dyn Instrument>,
}

const PACE: (&str, &str) = ("pace", "by what the time of its motions is multiplied (1: as real)");

/// All that there are, in the order of their names.
pub static MODELS: [Model; 6] = [
    Model {
        name: "balance",
        about: "Mettler Toledo WXS205SDU, a balance with MT-SICS",
        wire: SERIAL_9600_8N1,
        hears: "\r\n",
        says: "\r\n",
        options: &[
            ("load", "grams on its pan (42)"),
            PACE,
            ("seed", "of the wobble of its immediate readings (1)"),
            ("stable_after", "seconds until a weight is stable (0.4)"),
        ],
        make: Balance::given,
    },
    Model {
        name: "cytomat",
        about: "Thermo Cytomat C6000, an incubator that stores plates",
        wire: SERIAL_9600_8N1,
        hears: "\r\n",
        says: "\r",
        options: &[
            ("fault", "what its error register says after each motion, in hex (00: nothing is wrong)"),
            PACE,
            ("plates", "how many of its locations are full, from the first on (21)"),
        ],
        make: Cytomat::given,
    },
    Model {
        name: "lid_valet",
        about: "HighRes LidValet, which takes the lids off plates",
        wire: Wire::Tcp { port: 1000 },
        hears: "\n",
        says: "\r\n",
        options: &[("nests", "how many it has (2)"), PACE, ("plate", "whether there is a plate on them (true)")],
        make: LidValet::given,
    },
    Model {
        name: "micro_spin",
        about: "HighRes MicroSpin, a centrifuge for plates",
        wire: Wire::Tcp { port: 1000 },
        hears: "\r\n",
        says: "\r\n",
        options: &[("hangs", "whether a spin below 30 g never ends, as it may (false)"), PACE],
        make: MicroSpin::given,
    },
    Model {
        name: "precise_flex",
        about: "Brooks PreciseFlex 400, a robot arm",
        wire: Wire::Tcp { port: 10100 },
        hears: "\n",
        says: "\r\n",
        options: &[
            ("estop", "whether its emergency stop is pressed (false)"),
            (
                "interruptible",
                "whether it heeds `halt` while a command waits for a motion; the real one does not (false)",
            ),
            PACE,
        ],
        make: PreciseFlex::given,
    },
    Model {
        name: "xpeel",
        about: "Azenta XPeel, which peels the seals off plates",
        wire: SERIAL_9600_8N1,
        hears: "\r\n",
        says: "\r\n",
        options: &[
            ("fault", "the code with which what can fail so ends, such as 04: seal not removed (00)"),
            PACE,
            ("plate", "whether there is a plate (true)"),
            ("supply", "for how many peels there is tape (220)"),
            ("take_up", "for how many peels there is room on the take-up spool (100)"),
        ],
        make: XPeel::given,
    },
];

/// The device called `name`, as `options` want it.
///
/// # Errors
/// There is none of that name, it has no such option, or the option cannot be that: in words.
pub fn device(name: &str, options: &BTreeMap<String, String>) -> Result<Device, String> {
    let model = model(name)?;
    let instrument = (model.make)(&Given::checked(model, options)?)?;
    Ok(Device { model, instrument })
}

/// The kind of device called `name`.
///
/// # Errors
/// There is none, in words.
pub fn model(name: &str) -> Result<&'static Model, String> {
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| {
        let names: Vec<String> = MODELS.iter().map(|model| format!("'{}'", model.name)).collect();
        format!("there is no simulated instrument {name:?}; there is {}", names.join(", "))
    })
}

/// By what the time of all motions is multiplied.
#[derive(Clone, Copy, Debug)]
struct Pace(f64);

impl Default for Pace {
    fn default() -> Pace {
        Pace(1.0)
    }
}

impl Pace {
    /// How long that takes which takes `seconds` on the real device.
    fn of(self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.0).unwrap_or_default()
    }

    /// When it is over if it is acknowledged now: later than the acknowledgement, however fast.
    fn ends(self, now: Duration, seconds: f64) -> Duration {
        now + PROMPT + self.of(seconds).max(PROMPT)
    }
}

/// These lines, in this order, `after` a while.
fn lines(after: Duration, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Say> {
    lines.into_iter().map(|line| Say::after(after, format!("{}\r\n", line.as_ref()))).collect()
}
