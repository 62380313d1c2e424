//! A PreciseFlex: one interpreter that answers one command after the other, and an arm that moves meanwhile. Pure.

mod codes;
mod motion;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use codes::{
    CANCELLED, HARD_ESTOP, INVALID_ARGUMENT, INVALID_COMMAND, MISSING_ARGUMENT, NO_POWER, NOT_ATTACHED, NOT_HOMED,
    NOT_IN_POSITION_MODE, POWER_TIMEOUT, Refusal,
};
use motion::{HOME, Motion, Pose, farthest, joints, pose};

use super::options::Given;
use super::{PROMPT, Pace, lines};
use crate::framing::{Framing, Lines};
use crate::simulate::{Instrument, Say};

/// A Brooks PreciseFlex 400 with its TCP command server: commands end in LF, replies in CR LF, and begin with 0 or a
/// negative code. The commands and codes are those of PyLabRobot's driver, the texts those of its table of codes.
///
/// Knows `mode`, `nop`, `hp`, `attach`, `home`, `move`, `movej`, `waitForEom`, `wherej`, `halt`, `freemode`, `speed`,
/// `locAngles`, `sysState` and `exit`, in any case of letters; `exit` has no reply. `move` and `movej` answer when the
/// motion begins; while a command waits (`waitForEom`, `home`, `hp 1 20`, a move after a move) the interpreter hears
/// nothing else, `halt` included, as that driver's authors found on the real one. So what is to be interruptible asks
/// `wherej` again and again. An `interruptible` one heeds `halt` all the same: ours.
pub(super) struct PreciseFlex {
    pace: Pace,
    estop: bool,
    interruptible: bool,
    power: Power,
    attached: bool,
    homed: bool,
    free: bool,
    pose: Pose,
    locations: BTreeMap<u32, Pose>,
    /// In percent, by profile.
    speeds: BTreeMap<u32, f64>,
    uptime: Duration,
    motion: Option<Motion>,
    waits: Option<Wait>,
    /// What it has not heard yet.
    unheard: VecDeque<String>,
}

/// Ours: seconds on the real one, and joint units per second at 100 %.
const POWERING: f64 = 3.0;
const HOMING: f64 = 15.0;
const FASTEST: f64 = 100.0;

/// What a command line may hold at most before it is heard. Ours.
const UNHEARD: usize = 1_000;

#[derive(Clone, Copy, Debug)]
enum Power {
    Off,
    Coming(Duration),
    On,
}

/// A command that is not answered yet, and the first moment at which it can be.
#[derive(Clone, Copy, Debug)]
struct Wait {
    what: Waiting,
    until: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    EndOfMotion,
    Detach,
    Home,
    Power { comes: bool },
    Move { profile: u32, to: Pose },
}

/// A reply, or `None`: later.
type Answer = Result<Option<String>, Refusal>;

fn done() -> Answer {
    Ok(Some("0".to_owned()))
}

fn told(value: impl std::fmt::Display) -> Answer {
    Ok(Some(format!("0 {value}")))
}

fn line(answer: Answer) -> Option<String> {
    answer.unwrap_or_else(|(code, text)| Some(format!("{code} {text}")))
}

impl PreciseFlex {
    pub(super) fn given(given: &Given<'_>) -> Result<Box<dyn Instrument>, String> {
        Ok(Box::new(PreciseFlex {
            pace: given.pace()?,
            estop: given.flag("estop", false)?,
            interruptible: given.flag("interruptible", false)?,
            power: Power::Off,
            attached: false,
            homed: false,
            free: false,
            pose: HOME,
            locations: BTreeMap::new(),
            speeds: BTreeMap::new(),
            uptime: Duration::ZERO,
            motion: None,
            waits: None,
            unheard: VecDeque::new(),
        }))
    }

    fn answer(&mut self, command: &str) -> Answer {
        let mut words = command.split_ascii_whitespace();
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let numbers: Result<Vec<f64>, _> = words.map(str::parse).collect();
        let numbers = numbers.map_err(|_| INVALID_ARGUMENT)?;
        match (name.as_str(), numbers.as_slice()) {
            ("mode", []) => told(0),
            // Ours: the verbose mode is accepted, and is not verbose.
            ("nop", _) | ("mode", [0.0 | 1.0]) => done(),
            ("hp", []) => told(u8::from(matches!(self.power, Power::On))),
            ("hp", [0.0, ..]) => {
                self.stop();
                (self.power, self.attached) = (Power::Off, false);
                done()
            }
            ("hp", [1.0]) => self.power_up(0.0),
            ("hp", [1.0, timeout]) => self.power_up(*timeout),
            ("attach", []) => told(if self.attached { -1 } else { 0 }),
            ("attach", [0.0]) => Ok(self.wait(Waiting::Detach, 0.0)),
            ("attach", [1.0]) => {
                self.powered()?;
                self.attached = true;
                done()
            }
            ("home", []) => {
                self.ready()?;
                Ok(self.wait(Waiting::Home, HOMING))
            }
            ("freemode", [axis]) if (-1.0..=5.0).contains(axis) => {
                self.ready()?;
                self.free = *axis >= 0.0;
                done()
            }
            ("speed", [profile]) => told(format!("{profile} {}", self.speed(*profile as u32))),
            ("speed", [profile, percent]) if (1.0..=1000.0).contains(percent) => {
                self.speeds.insert(*profile as u32, *percent);
                done()
            }
            ("locangles", [place, joints @ ..]) => {
                self.locations.insert(*place as u32, pose(joints)?);
                done()
            }
            ("movej", [profile, joints @ ..]) => self.go(*profile as u32, pose(joints)?),
            ("move", [place, rest @ ..]) => {
                let to = self.locations.get(&(*place as u32)).copied().ok_or(INVALID_ARGUMENT)?;
                self.go(rest.first().map_or(1, |profile| *profile as u32), to)
            }
            ("waitforeom", []) => Ok(self.wait(Waiting::EndOfMotion, 0.0)),
            ("wherej", []) => told(joints(&self.where_it_is())),
            ("halt", []) => {
                self.stop();
                done()
            }
            ("sysstate", []) => told(self.state()),
            ("exit", []) => Ok(None),
            ("hp" | "speed" | "freemode" | "mode" | "attach", [_, ..]) => Err(INVALID_ARGUMENT),
            ("speed" | "freemode" | "locangles" | "movej" | "move", []) => Err(MISSING_ARGUMENT),
            _ => Err(INVALID_COMMAND),
        }
    }

    fn powered(&self) -> Result<(), Refusal> {
        if matches!(self.power, Power::On) { Ok(()) } else { Err(NO_POWER) }
    }

    fn ready(&self) -> Result<(), Refusal> {
        self.powered()?;
        if self.attached { Ok(()) } else { Err(NOT_ATTACHED) }
    }

    /// The power state of the controller (its DataID 234).
    fn state(&self) -> u8 {
        match self.power {
            Power::Off if self.estop => 15,
            Power::Off => 7,
            Power::Coming(_) => 8,
            Power::On if self.attached => 21,
            Power::On => 20,
        }
    }

    /// 0: does not wait for it. -1: waits for as long as it takes.
    fn power_up(&mut self, timeout: f64) -> Answer {
        if self.estop {
            return Err(HARD_ESTOP);
        }
        if matches!(self.power, Power::On) {
            return done();
        }
        let comes = !(0.0..POWERING).contains(&timeout);
        if !matches!(self.power, Power::Coming(_)) {
            self.power = Power::Coming(self.pace.ends(self.uptime, POWERING));
        }
        if timeout == 0.0 {
            return done();
        }
        Ok(self.wait(Waiting::Power { comes }, if comes { 0.0 } else { timeout }))
    }

    fn speed(&self, profile: u32) -> f64 {
        self.speeds.get(&profile).copied().unwrap_or(100.0)
    }

    fn go(&mut self, profile: u32, to: Pose) -> Answer {
        self.ready()?;
        if !self.homed {
            return Err(NOT_HOMED);
        }
        if self.free {
            return Err(NOT_IN_POSITION_MODE);
        }
        if self.motion.is_some() {
            return Ok(self.wait(Waiting::Move { profile, to }, 0.0));
        }
        let seconds = farthest(&self.pose, &to) / FASTEST * 100.0 / self.speed(profile);
        let ends = self.pace.ends(self.uptime, seconds);
        self.motion = Some(Motion { from: self.pose, to, begins: self.uptime, ends });
        done()
    }

    fn where_it_is(&self) -> Pose {
        self.motion.map_or(self.pose, |motion| motion.at(self.uptime))
    }

    /// At once, where it is. Ours: without a way to brake.
    fn stop(&mut self) {
        self.pose = self.where_it_is();
        self.motion = None;
    }

    fn wait(&mut self, what: Waiting, seconds: f64) -> Option<String> {
        // Later than the reply to a command that came just before.
        self.waits = Some(Wait { what, until: self.pace.ends(self.uptime, seconds) });
        None
    }

    /// What the command that waits is answered now, if it is its time.
    fn over(&mut self, wait: Wait) -> Option<Answer> {
        let moving = self.motion.is_some();
        match wait.what {
            _ if wait.until > self.uptime => None,
            Waiting::EndOfMotion | Waiting::Detach | Waiting::Move { .. } if moving => None,
            Waiting::EndOfMotion => Some(done()),
            Waiting::Detach => {
                self.attached = false;
                Some(done())
            }
            Waiting::Home => {
                (self.homed, self.pose) = (true, HOME);
                Some(done())
            }
            Waiting::Power { comes: true } if matches!(self.power, Power::Coming(_)) => None,
            Waiting::Power { comes: true } => Some(done()),
            Waiting::Power { comes: false } => Some(Err(POWER_TIMEOUT)),
            Waiting::Move { profile, to } => Some(self.go(profile, to)),
        }
    }

    /// `halt` while a command waits, and it is heeded: what waits is over first.
    fn break_off(&mut self, wait: Wait) -> Vec<Say> {
        self.stop();
        self.waits = None;
        let answer = match wait.what {
            Waiting::EndOfMotion => done(),
            Waiting::Detach => {
                self.attached = false;
                done()
            }
            Waiting::Home | Waiting::Power { .. } | Waiting::Move { .. } => Err(CANCELLED),
        };
        let mut says = lines(PROMPT, line(answer).into_iter().chain(line(done())));
        says.extend(self.catch_up(PROMPT));
        says
    }

    /// Hears what it has not heard yet.
    fn catch_up(&mut self, after: Duration) -> Vec<Say> {
        let mut says = Vec::new();
        while self.waits.is_none()
            && let Some(command) = self.unheard.pop_front()
        {
            let answer = self.answer(&command);
            says.extend(lines(after, line(answer)));
        }
        says
    }
}

impl Instrument for PreciseFlex {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        let command = String::from_utf8_lossy(command).trim().to_owned();
        // A line feed alone says nothing: drivers send one before `halt`, in case they were cut short.
        if command.is_empty() {
            return Vec::new();
        }
        match self.waits {
            Some(wait) if self.interruptible && command.eq_ignore_ascii_case("halt") => self.break_off(wait),
            Some(_) => {
                if self.unheard.len() < UNHEARD {
                    self.unheard.push_back(command);
                }
                Vec::new()
            }
            None => {
                let answer = self.answer(&command);
                lines(PROMPT, line(answer))
            }
        }
    }

    fn framing(&self) -> Framing {
        Lines::default().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        (self.power, self.attached, self.homed, self.free) = (Power::Off, false, false, false);
        self.stop();
        self.waits = None;
        self.unheard.clear();
        self.locations.clear();
        self.speeds.clear();
        Vec::new()
    }

    fn wakes_at(&self) -> Option<Duration> {
        let power = if let Power::Coming(at) = self.power { Some(at) } else { None };
        let wait = self.waits.map(|wait| wait.until).filter(|&until| until > self.uptime);
        power.into_iter().chain(self.motion.map(|motion| motion.ends)).chain(wait).min()
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        self.uptime = uptime;
        if let Power::Coming(at) = self.power
            && at <= uptime
        {
            self.power = Power::On;
        }
        if let Some(motion) = self.motion
            && motion.ends <= uptime
        {
            (self.pose, self.motion) = (motion.to, None);
        }
        let Some(wait) = self.waits else { return Vec::new() };
        let Some(answer) = self.over(wait) else { return Vec::new() };
        self.waits = None;
        let mut says = lines(Duration::ZERO, line(answer));
        says.extend(self.catch_up(Duration::ZERO));
        says
    }
}
