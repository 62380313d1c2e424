//! A LidValet: every command is acknowledged at once and terminated when it is over, by a word that stands alone. Pure.

use std::time::Duration;

use super::options::Given;
use super::{PROMPT, Pace, lines};
use crate::framing::{Framing, Lines};
use crate::simulate::{Instrument, Say};

/// A HighRes LidValet: commands end in LF, its lines in CR LF. Its commands and states are those of PyLabRobot's driver;
/// the texts of its errors are ours.
///
/// Knows `status [N]`, `unlid N`, `lid N`, `reset [N]`, `home`, `abort`, `clearabort`, `errors` and `version`.
/// `ACK! command` comes first, then lines, then `OK!`, `ERROR!` or `ABORTED!`, with nothing that says of which command:
/// so whoever has sent two cannot tell. `status` is answered while something moves, and says `BUSY`; a nest that failed
/// says so until it is reset. After `abort`, motions are `ABORTED!` until `clearabort`.
pub(super) struct LidValet {
    pace: Pace,
    plate: bool,
    nests: Vec<Nest>,
    latched: bool,
    /// The last of them.
    errors: Vec<String>,
    uptime: Duration,
    /// What moves, in the order of its beginning.
    motions: Vec<Motion>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Nest {
    has_lid: bool,
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Motion {
    what: What,
    /// From 0; all of them if it is none.
    nest: Option<usize>,
    ends: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Unlid,
    Lid,
    Reset,
}

impl What {
    /// On the real device. Ours: the driver waits up to 30 s, and 60 s for a reset.
    fn seconds(self) -> f64 {
        match self {
            What::Unlid | What::Lid => 4.0,
            What::Reset => 10.0,
        }
    }
}

/// As many errors as are listed.
const LISTED: usize = 10;

impl Motion {
    fn moves(&self, nest: usize) -> bool {
        self.nest.is_none_or(|own| own == nest)
    }
}

/// The lines of an answer, the terminating word included; none: when the motion is over.
type Answer = Result<Vec<String>, String>;

fn ok(mut report: Vec<String>) -> Answer {
    report.push("OK!".to_owned());
    Ok(report)
}

impl LidValet {
    pub(super) fn given(given: &Given<'_>) -> Result<Box<dyn Instrument>, String> {
        Ok(Box::new(LidValet {
            pace: given.pace()?,
            plate: given.flag("plate", true)?,
            nests: vec![Nest::default(); given.whole("nests", 1..=8, 2)?],
            latched: false,
            errors: Vec::new(),
            uptime: Duration::ZERO,
            motions: Vec::new(),
        }))
    }

    fn answer(&mut self, command: &str) -> Answer {
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["status"] => {
                let report = (0..self.nests.len()).map(|nest| format!("hotel {}: {}", nest + 1, self.state(nest)));
                ok(report.collect())
            }
            ["status", nest] => {
                let nest = self.nest(nest)?;
                ok(vec![self.state(nest).to_owned()])
            }
            ["unlid", nest] => {
                let nest = self.nest(nest)?;
                self.begin(What::Unlid, Some(nest))
            }
            ["lid", nest] => {
                let nest = self.nest(nest)?;
                self.begin(What::Lid, Some(nest))
            }
            ["reset"] | ["home"] => self.begin(What::Reset, None),
            ["reset", nest] => {
                let nest = self.nest(nest)?;
                self.begin(What::Reset, Some(nest))
            }
            ["abort"] => {
                self.latched = true;
                let cut = std::mem::take(&mut self.motions);
                ok(cut.iter().map(|_| "ABORTED!".to_owned()).collect())
            }
            ["clearabort"] => {
                self.latched = false;
                ok(Vec::new())
            }
            ["errors"] => ok(self.errors.clone()),
            ["version"] => ok(vec!["Product Name: LidValet".to_owned()]),
            _ => Err(format!("Command Error: {command:?} is not recognized")),
        }
    }

    fn nest(&self, word: &str) -> Result<usize, String> {
        let number = word.parse::<usize>().ok().filter(|number| (1..=self.nests.len()).contains(number));
        number.map(|number| number - 1).ok_or_else(|| format!("Command Error: there is no hotel {word}"))
    }

    fn busy(&self, nest: usize) -> bool {
        self.motions.iter().any(|motion| motion.moves(nest))
    }

    fn state(&self, nest: usize) -> &'static str {
        match self.nests.get(nest) {
            _ if self.busy(nest) => "BUSY",
            Some(nest) if nest.failed => "ERROR (last failed)",
            Some(nest) if nest.has_lid => "HAS_LID",
            _ => "OPEN",
        }
    }

    fn begin(&mut self, what: What, nest: Option<usize>) -> Answer {
        if self.latched {
            return Ok(vec!["ABORTED!".to_owned()]);
        }
        let state = nest.and_then(|nest| self.nests.get(nest)).copied().unwrap_or_default();
        let shown = nest.map_or("a hotel".to_owned(), |nest| format!("hotel {}", nest + 1));
        if (0..self.nests.len()).any(|other| nest.is_none_or(|nest| nest == other) && self.busy(other)) {
            return Err(format!("Busy Error: {shown} is busy"));
        }
        match what {
            What::Unlid if state.has_lid => {
                return Err(format!("Delid Error: the suction cup of {shown} is holding a lid"));
            }
            What::Lid if !state.has_lid => return Err(format!("Lid Error: the suction cup of {shown} has no lid")),
            What::Unlid | What::Lid if state.failed => return Err(format!("Delid Error: {shown} has to be reset")),
            What::Unlid | What::Lid | What::Reset => {}
        }
        self.motions.push(Motion { what, nest, ends: self.pace.ends(self.uptime, what.seconds()) });
        Ok(Vec::new())
    }

    fn failed(&mut self, text: String) -> Vec<String> {
        if self.errors.len() == LISTED {
            self.errors.remove(0);
        }
        self.errors.push(text.clone());
        vec![text, "ERROR!".to_owned()]
    }

    fn end(&mut self, motion: Motion) -> Vec<String> {
        let plate = self.plate;
        let mut fails = false;
        for (_, nest) in self.nests.iter_mut().enumerate().filter(|&(place, _)| motion.moves(place)) {
            match motion.what {
                What::Reset => nest.failed = false,
                What::Unlid | What::Lid if !plate => (nest.failed, fails) = (true, true),
                What::Unlid | What::Lid => nest.has_lid = motion.what == What::Unlid,
            }
        }
        if fails { self.failed("Delid Error: no plate present".to_owned()) } else { vec!["OK!".to_owned()] }
    }
}

impl Instrument for LidValet {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        let command = String::from_utf8_lossy(command).trim().to_owned();
        if command.is_empty() {
            return Vec::new();
        }
        let said = self.answer(&command).unwrap_or_else(|text| self.failed(text));
        lines(PROMPT, [format!("ACK! {command}")].into_iter().chain(said))
    }

    fn framing(&self) -> Framing {
        Lines::default().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        // A lid that is held stays where it is.
        self.latched = false;
        self.motions.clear();
        self.errors.clear();
        for nest in &mut self.nests {
            nest.failed = false;
        }
        Vec::new()
    }

    fn wakes_at(&self) -> Option<Duration> {
        self.motions.iter().map(|motion| motion.ends).min()
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        self.uptime = uptime;
        let over: Vec<Motion> = self.motions.iter().filter(|motion| motion.ends <= uptime).copied().collect();
        self.motions.retain(|motion| motion.ends > uptime);
        let said: Vec<String> = over.into_iter().flat_map(|motion| self.end(motion)).collect();
        lines(Duration::ZERO, said)
    }
}
