//! An XPeel: every motion is acknowledged at once and reported when it is over. Pure.

use std::time::Duration;

use super::options::Given;
use super::{PROMPT, Pace, lines};
use crate::framing::{Framing, Lines};
use crate::simulate::{Instrument, Say};

/// An Azenta XPeel, as on a line of 9600 8N1 with CR LF both ways. The commands and codes are those of its manual
/// (440140) as drivers that follow it tell them.
///
/// Knows `*stat`, `*reset`, `*restart`, `*moveout`, `*movein`, `*moveup`, `*movedown`, `*movespool`, `*xpeel:NN`,
/// `*sealcheck`, `*tapeleft` and `*platecheck:y`; all else is code 05, and so is a parameter that it does not know.
/// While something moves it does not listen: what is said to it then is lost, as those drivers found. Nothing on the
/// wire stops a motion.
pub(super) struct XPeel {
    pace: Pace,
    /// The code with which what can fail so ends.
    fault: u8,
    plate: bool,
    plate_check: bool,
    sealed: bool,
    /// For so many peels there is tape, and room for what was peeled.
    supply: u16,
    take_up: u16,
    /// Before the first motion after it was switched on, it does not know how much tape is left.
    knows_tape: bool,
    codes: [u8; 3],
    uptime: Duration,
    motion: Option<(Motion, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Motion {
    Conveyor,
    Elevator,
    Spool,
    SealCheck,
    Peel { extra: Duration },
    PlateCheck,
    Reset,
    Homing,
}

/// The manual's table of codes.
const CODES: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21, 51, 52];
const SEAL_NOT_REMOVED: u8 = 4;
const ILLEGAL_COMMAND: u8 = 5;
const NO_PLATE: u8 = 6;
const OUT_OF_TAPE: u8 = 7;

impl Motion {
    /// On the real device. Ours, but for the peel: at least 10 s, and the adhere time on top.
    fn seconds(self) -> f64 {
        match self {
            Motion::Conveyor => 3.0,
            Motion::Elevator | Motion::Spool | Motion::Reset => 2.0,
            Motion::SealCheck => 4.0,
            Motion::Peel { extra } => 10.0 + extra.as_secs_f64(),
            Motion::PlateCheck => 0.0,
            Motion::Homing => 8.0,
        }
    }

    /// Whether it can end with this code.
    fn can_fail(self, code: u8) -> bool {
        match (self, code) {
            (Motion::Peel { .. }, _) | (_, 51 | 52) => true,
            (Motion::Conveyor, 1) | (Motion::Elevator, 2) | (Motion::Spool, 3 | 7) | (Motion::SealCheck, 10) => true,
            (Motion::PlateCheck, 8) => true,
            _ => code == 9 && !matches!(self, Motion::PlateCheck | Motion::Reset),
        }
    }
}

impl XPeel {
    pub(super) fn given(given: &Given<'_>) -> Result<Box<dyn Instrument>, String> {
        let mut peeler = XPeel {
            pace: given.pace()?,
            fault: given.code("fault", &CODES, 10)?,
            plate: given.flag("plate", true)?,
            plate_check: false,
            sealed: true,
            supply: given.whole("supply", 0..=980, 220)?,
            take_up: given.whole("take_up", 0..=980, 100)?,
            knows_tape: true,
            codes: [0; 3],
            uptime: Duration::ZERO,
            motion: None,
        };
        peeler.outcome(0);
        Ok(Box::new(peeler))
    }

    fn begin(&mut self, motion: Motion) -> Vec<Say> {
        self.motion = Some((motion, self.pace.ends(self.uptime, motion.seconds())));
        lines(PROMPT, ["*ack"])
    }

    /// The first code is how it went; the others are the warnings about the tape: fewer than 30 left, room for fewer
    /// than 30.
    fn outcome(&mut self, code: u8) {
        self.codes = [code, if self.supply < 30 { 20 } else { 0 }, if self.take_up < 30 { 21 } else { 0 }];
    }

    fn ready(&self) -> String {
        let [first, second, third] = self.codes;
        format!("*ready:{first:02},{second:02},{third:02}")
    }

    fn end(&mut self, motion: Motion) -> u8 {
        if self.fault != 0 && motion.can_fail(self.fault) {
            return self.fault;
        }
        match motion {
            Motion::Peel { .. } if self.plate_check && !self.plate => NO_PLATE,
            Motion::Peel { .. } if self.supply == 0 => OUT_OF_TAPE,
            Motion::Peel { .. } => {
                self.sealed = false;
                self.supply -= 1;
                self.take_up = self.take_up.saturating_sub(1);
                0
            }
            Motion::SealCheck if !self.plate => NO_PLATE,
            Motion::SealCheck if self.sealed => SEAL_NOT_REMOVED,
            _ => 0,
        }
    }

    /// Tens of peels in two digits; 99: not known.
    fn tape(&self) -> String {
        let (supply, take_up) = if self.knows_tape { (self.supply / 10, self.take_up / 10) } else { (99, 99) };
        format!("*tape:{supply:02},{take_up:02}")
    }

    fn illegal(&mut self) -> Vec<Say> {
        self.outcome(ILLEGAL_COMMAND);
        lines(PROMPT, [self.ready()])
    }
}

/// The adhere time and, ours, 2 s more at the slow speeds. The first digit is the set: from where and how fast; the
/// second the adhere time in steps of 2.5 s. PyLabRobot's driver sends the seconds in full, as in `42.5`.
fn peel(parameters: &str) -> Option<Motion> {
    let set = parameters.chars().next()?.to_digit(10).filter(|set| (1..=9).contains(set))?;
    let adhere = match parameters.get(1..)? {
        "1" | "2.5" => 2.5,
        "2" | "5.0" => 5.0,
        "3" | "7.5" => 7.5,
        "4" | "10.0" => 10.0,
        _ => return None,
    };
    let slow = if set % 2 == 0 { 2.0 } else { 0.0 };
    Some(Motion::Peel { extra: Duration::from_secs_f64(adhere + slow) })
}

impl Instrument for XPeel {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        if self.motion.is_some() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(command);
        let motion = match text.split_once(':') {
            Some(("*xpeel", parameters)) => peel(parameters),
            Some(("*platecheck", "y" | "n")) => {
                self.plate_check = text.ends_with('y');
                Some(Motion::PlateCheck)
            }
            Some(_) => None,
            None => match text.as_ref() {
                "*stat" => return lines(PROMPT, [self.ready()]),
                // Not acknowledged; the codes after it are those of the last motion.
                "*tapeleft" => return lines(PROMPT, [self.tape(), self.ready()]),
                "*moveout" | "*movein" => Some(Motion::Conveyor),
                "*moveup" | "*movedown" => Some(Motion::Elevator),
                "*movespool" => Some(Motion::Spool),
                "*sealcheck" => Some(Motion::SealCheck),
                "*reset" => Some(Motion::Reset),
                "*restart" => {
                    let mut says = lines(PROMPT, ["*ack"]);
                    says.extend(self.power_on());
                    return says;
                }
                _ => None,
            },
        };
        match motion {
            Some(motion) => self.begin(motion),
            None => self.illegal(),
        }
    }

    fn framing(&self) -> Framing {
        Lines::crlf().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        (self.plate_check, self.knows_tape) = (false, false);
        self.motion = Some((Motion::Homing, self.pace.ends(self.uptime, Motion::Homing.seconds())));
        lines(PROMPT, ["*poweron", "*homing"]).into_iter().map(Say::unasked).collect()
    }

    fn wakes_at(&self) -> Option<Duration> {
        self.motion.map(|(_, ends)| ends)
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        self.uptime = uptime;
        let Some((motion, ends)) = self.motion else { return Vec::new() };
        if ends > uptime {
            return Vec::new();
        }
        self.motion = None;
        self.knows_tape |= motion != Motion::Homing;
        let code = self.end(motion);
        self.outcome(code);
        lines(Duration::ZERO, [self.ready()])
    }
}
