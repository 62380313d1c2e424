//! A Cytomat: every motion is accepted at once, and a register says when it is over and how it went. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::options::Given;
use super::{PROMPT, Pace};
use crate::framing::{Framing, Lines};
use crate::simulate::{Instrument, Say};

/// A Thermo Cytomat C6000, as on a line of 9600 8N1: commands end in CR LF, replies in CR. Its commands, registers and
/// error codes are those of PyLabRobot's driver.
///
/// Knows `ll:in`, `ll:gp 001` and `002` (gate closed, open), `ll:sp 001` and `002` (shovel in, out), `mv:` from and to
/// `s`torage, `t`ransfer station, `w`ait position and `h`, outside, as in `mv:st 001`; `ch:bs` (overview), `ch:be`
/// (error), `ch:bw` (warning), `ch:it` (temperature) and `rs:be`. While it moves it answers `ch:` and `rs:` only, and
/// everything else with `er 01`. Nothing on the wire stops a motion.
pub(super) struct Cytomat {
    pace: Pace,
    /// What the error register says after each motion.
    fault: u8,
    /// The locations with a plate.
    full: BTreeSet<u16>,
    transfer: bool,
    handler: bool,
    outside: bool,
    gate_open: bool,
    shovel_out: bool,
    error: u8,
    uptime: Duration,
    motion: Option<(Motion, Duration)>,
}

#[derive(Clone, Copy, Debug)]
enum Motion {
    Initialize,
    Gate { open: bool },
    Shovel { out: bool },
    Carry { from: Place, to: Place },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Storage(u16),
    Transfer,
    Wait,
    Outside,
}

/// How many locations there are. Ours: nine stackers of 21.
const LOCATIONS: u16 = 189;

/// What the driver calls the error register.
const REGISTER: [u8; 14] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x0A, 0x0B, 0x0C, 0x0D, 0xFF];
const NOT_LOADED: u8 = 0x02;
const NOT_UNLOADED: u8 = 0x03;

/// Why a command is refused.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Busy = 0x01,
    Unknown = 0x02,
    Structure = 0x03,
    Parameter = 0x04,
    Location = 0x05,
    ShovelExtended = 0x12,
    HandlerOccupied = 0x21,
    HandlerEmpty = 0x22,
    TransferEmpty = 0x31,
    TransferOccupied = 0x32,
    GateClosed = 0x42,
}

impl Motion {
    /// On the real device. Ours: the driver waits up to 300 s for the first, 60 s or 120 s for the others.
    fn seconds(self) -> f64 {
        match self {
            Motion::Initialize => 30.0,
            Motion::Gate { .. } | Motion::Shovel { .. } => 3.0,
            Motion::Carry { .. } => 20.0,
        }
    }
}

impl Cytomat {
    pub(super) fn given(given: &Given<'_>) -> Result<Box<dyn Instrument>, String> {
        Ok(Box::new(Cytomat {
            pace: given.pace()?,
            fault: given.code("fault", &REGISTER, 16)?,
            full: (1..=given.whole("plates", 0..=LOCATIONS, 21)?).collect(),
            transfer: false,
            handler: false,
            outside: false,
            gate_open: false,
            shovel_out: false,
            error: 0,
            uptime: Duration::ZERO,
            motion: None,
        }))
    }

    /// The bits of the overview register, as the driver names them. It has two more: the device's door is open (64),
    /// and ready (2), which PyLabRobot's dialogue never shows.
    fn overview(&self) -> u8 {
        let bits = [
            (self.motion.is_some(), 1),
            (self.error != 0, 8),
            (self.handler, 16),
            (self.gate_open, 32),
            (self.transfer, 128),
        ];
        bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum()
    }

    fn answer(&mut self, command: &str) -> Result<String, Refusal> {
        let (telegram, parameters) = command.split_once(' ').unwrap_or((command, ""));
        let (kind, name) = telegram.split_once(':').ok_or(Refusal::Structure)?;
        if kind.len() != 2 || name.len() != 2 {
            return Err(Refusal::Structure);
        }
        let motion = match (kind, name, parameters) {
            ("ch", "bs", "") => return Ok(format!("bs {:02X}", self.overview())),
            ("ch", "be", "") => return Ok(format!("be {:02X}", self.error)),
            ("ch", "bw", "") => return Ok("bw 00".to_owned()),
            ("ch", "it", "") => return Ok("it +37.0 +37.0".to_owned()),
            ("rs", "be", "") => {
                self.error = 0;
                return Ok(format!("ok {:02X}", self.overview()));
            }
            _ if self.motion.is_some() => return Err(Refusal::Busy),
            ("ll", "in", "") => Motion::Initialize,
            ("ll", "gp", "001" | "002") => Motion::Gate { open: parameters == "002" },
            ("ll", "sp", "001" | "002") => Motion::Shovel { out: parameters == "002" },
            ("mv", "ts" | "st" | "sw" | "ws" | "wt" | "tw" | "wh" | "hw" | "hs" | "sh", _) => carry(name, parameters)?,
            ("ch", "bs" | "be" | "bw" | "it", _) | ("rs", "be", _) | ("ll", "in" | "gp" | "sp", _) => {
                return Err(Refusal::Parameter);
            }
            _ => return Err(Refusal::Unknown),
        };
        self.allowed(motion)?;
        self.motion = Some((motion, self.pace.ends(self.uptime, motion.seconds())));
        Ok(format!("ok {:02X}", self.overview()))
    }

    /// What it knows before it begins. What is in a location it sees only when it gets there.
    fn allowed(&self, motion: Motion) -> Result<(), Refusal> {
        match motion {
            Motion::Shovel { out: true } if !self.gate_open => Err(Refusal::GateClosed),
            Motion::Gate { .. } | Motion::Carry { .. } if self.shovel_out => Err(Refusal::ShovelExtended),
            Motion::Carry { from: Place::Transfer, .. } if !self.transfer => Err(Refusal::TransferEmpty),
            Motion::Carry { to: Place::Transfer, .. } if self.transfer => Err(Refusal::TransferOccupied),
            Motion::Carry { from: Place::Wait, .. } if !self.handler => Err(Refusal::HandlerEmpty),
            Motion::Carry { from, .. } if from != Place::Wait && self.handler => Err(Refusal::HandlerOccupied),
            _ => Ok(()),
        }
    }

    /// What the error register says of it.
    fn end(&mut self, motion: Motion) -> u8 {
        if self.fault != 0 {
            return self.fault;
        }
        match motion {
            Motion::Initialize => (self.gate_open, self.shovel_out) = (false, false),
            Motion::Gate { open } => self.gate_open = open,
            Motion::Shovel { out } => self.shovel_out = out,
            Motion::Carry { from, to } => {
                // It opens the gate when it has to, and closes it in any case.
                self.gate_open = false;
                if !self.move_plate(from, false) {
                    return NOT_LOADED;
                }
                if !self.move_plate(to, true) {
                    self.handler = true;
                    return NOT_UNLOADED;
                }
            }
        }
        0
    }

    /// Puts a plate there, or takes the one there away. Whether that is possible.
    fn move_plate(&mut self, place: Place, there: bool) -> bool {
        let taken = match place {
            Place::Storage(location) if there => return self.full.insert(location),
            Place::Storage(location) => return self.full.remove(&location),
            Place::Transfer => &mut self.transfer,
            Place::Wait => &mut self.handler,
            Place::Outside => &mut self.outside,
        };
        let possible = *taken != there;
        *taken = there;
        possible
    }
}

/// `mv:st 001`: from where to where, and which location if one of them is the storage.
fn carry(name: &str, parameters: &str) -> Result<Motion, Refusal> {
    let location = match parameters {
        "" => None,
        _ if parameters.len() != 3 => return Err(Refusal::Parameter),
        _ => Some(parameters.parse::<u16>().map_err(|_| Refusal::Parameter)?),
    };
    if location.is_some() != name.contains('s') {
        return Err(Refusal::Parameter);
    }
    if location.is_some_and(|location| !(1..=LOCATIONS).contains(&location)) {
        return Err(Refusal::Location);
    }
    let mut places = name.chars().map(|letter| match (letter, location) {
        ('s', Some(location)) => Ok(Place::Storage(location)),
        ('t', _) => Ok(Place::Transfer),
        ('w', _) => Ok(Place::Wait),
        ('h', _) => Ok(Place::Outside),
        _ => Err(Refusal::Unknown),
    });
    let mut next = || places.next().unwrap_or(Err(Refusal::Unknown));
    Ok(Motion::Carry { from: next()?, to: next()? })
}

impl Instrument for Cytomat {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        let reply = match self.answer(&String::from_utf8_lossy(command)) {
            Ok(reply) => reply,
            Err(refusal) => format!("er {:02X}", refusal as u8),
        };
        vec![Say::after(PROMPT, format!("{reply}\r"))]
    }

    fn framing(&self) -> Framing {
        Lines::crlf().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        // What is where stays so; the shovel and the gate are where they were.
        (self.motion, self.error) = (None, 0);
        Vec::new()
    }

    fn wakes_at(&self) -> Option<Duration> {
        self.motion.map(|(_, ends)| ends)
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        self.uptime = uptime;
        if let Some((motion, ends)) = self.motion
            && ends <= uptime
        {
            self.motion = None;
            self.error = self.end(motion);
        }
        Vec::new()
    }
}
