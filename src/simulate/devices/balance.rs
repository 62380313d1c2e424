//! An MT-SICS balance with something on its pan. Pure: when it is what, and what it says then; never a wire or a clock.

use std::time::Duration;

use super::options::Given;
use super::{PROMPT, lines};
use crate::framing::{Framing, Lines};
use crate::simulate::{Instrument, Say};

/// A Mettler Toledo WXS205SDU with MT-SICS, as on a line of 9600 8N1 with CR LF both ways.
///
/// Knows the [`COMMANDS`], which it lists in reply to `I0`. `S I`: busy, `S +`: too heavy, `S -`: the pan is not in
/// place, `M21 L`: not with this parameter, `C B`: begun, more follows. `ES`: no such command, `EL`: it takes no
/// parameters, `ET`: garbled on the way. Ours, and in no balance: `QUIET`, to which it says nothing.
#[derive(Clone, Debug)]
pub struct Balance {
    load: Weight,
    settle: Duration,
    wobble: Wobble,
    zero: Weight,
    tare: Weight,
    uptime: Duration,
    /// What waits for a stable weight, and when it gets it. One at a time: whoever comes second is told "I".
    pending: Option<(Stable, Duration)>,
    /// When `SIR` gives its next reading.
    stream: Option<Duration>,
}

/// What needs a stable weight.
#[derive(Clone, Copy, Debug)]
enum Stable {
    Weigh,
    Tare,
    Zero,
}

impl Stable {
    const fn command(self) -> &'static str {
        match self {
            Stable::Weigh => "S",
            Stable::Tare => "T",
            Stable::Zero => "Z",
        }
    }
}

/// In steps of 0.00001 g, the last digit of this model: whole numbers, so that taring is exact.
type Weight = i64;

const STEPS_PER_GRAM: Weight = 100_000;

/// As its I2 says.
const CAPACITY: Weight = 22_000_900;

/// Below this the pan cannot be in place. Ours.
const LIGHTEST: Weight = -STEPS_PER_GRAM;

/// With their levels of MT-SICS. Those of `C`, `D` and `DW` are missing in a weighing bridge without a terminal, which
/// PyLabRobot's authors had; they are in the manual's level 1.
const COMMANDS: [(&str, u8); 20] = [
    ("@", 0),
    ("C", 1),
    ("D", 1),
    ("DW", 1),
    ("I0", 0),
    ("I2", 0),
    ("I3", 0),
    ("I4", 0),
    ("I5", 0),
    ("M21", 2),
    ("S", 0),
    ("SI", 0),
    ("SIR", 0),
    ("T", 1),
    ("TA", 1),
    ("TAC", 1),
    ("TI", 1),
    ("Z", 0),
    ("ZI", 0),
    ("QUIET", 3),
];

/// Between two readings of `SIR`.
const STREAM_PERIOD: Duration = Duration::from_millis(100);

const SERIAL_NUMBER: &str = "I4 A \"B021002593\"";

impl Default for Balance {
    fn default() -> Balance {
        Balance::new()
    }
}

impl Balance {
    /// With 42 g on its pan, and stable 0.4 s after it is asked.
    pub fn new() -> Balance {
        Balance {
            load: 42 * STEPS_PER_GRAM,
            settle: Duration::from_millis(400),
            wobble: Wobble(1),
            zero: 0,
            tare: 0,
            uptime: Duration::ZERO,
            pending: None,
            stream: None,
        }
    }

    /// With `grams` on its pan.
    #[must_use]
    pub fn with_load(mut self, grams: f64) -> Balance {
        self.load = steps(grams);
        self
    }

    /// Stable `settle` after it is asked for a stable weight.
    #[must_use]
    pub fn with_settle(mut self, settle: Duration) -> Balance {
        self.settle = settle;
        self
    }

    /// Its immediate readings wobble in another order for each `seed`, and always in the same for one.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Balance {
        self.wobble = Wobble(seed);
        self
    }

    pub(super) fn given(given: &Given<'_>) -> Result<Box<dyn Instrument>, String> {
        let settle = given.pace()?.of(given.number("stable_after", 0.0..=86_400.0, 0.4)?);
        let load = given.number("load", -1e6..=1e6, 42.0)?;
        let seed = given.whole("seed", 0..=u64::MAX, 1)?;
        Ok(Box::new(Balance::new().with_load(load).with_settle(settle).with_seed(seed)))
    }

    fn net(&self) -> Weight {
        self.load.saturating_sub(self.zero).saturating_sub(self.tare)
    }

    /// `+` or `-`, if there is no weight to tell.
    fn out_of_range(&self) -> Option<char> {
        match self.load {
            load if load > CAPACITY => Some('+'),
            load if load < LIGHTEST => Some('-'),
            _ => None,
        }
    }

    /// `S`, `T`, `Z`: answered once the weight is stable.
    fn when_stable(&mut self, what: Stable) -> Vec<Say> {
        let command = what.command();
        if self.pending.is_some() {
            return promptly(&format!("{command} I"));
        }
        if let Some(sign) = self.out_of_range() {
            return promptly(&format!("{command} {sign}"));
        }
        self.pending = Some((what, self.uptime + self.settle));
        Vec::new()
    }

    fn stable(&mut self, what: Stable) -> String {
        match what {
            Stable::Weigh => weight("S S", self.net()),
            Stable::Tare => {
                self.tare += self.net();
                weight("T S", self.tare)
            }
            Stable::Zero => {
                self.zero();
                "Z A".to_owned()
            }
        }
    }

    fn zero(&mut self) {
        // Zeroing clears the tare: a tare is counted from the zero point.
        (self.zero, self.tare) = (self.load, 0);
    }

    /// The weight as it is just now, and `S` if it happens to stand still, else `D`.
    fn glance(&mut self) -> (char, Weight) {
        let wobble = self.wobble.next();
        let status = if wobble == 0 && self.pending.is_none() { 'S' } else { 'D' };
        (status, self.net().saturating_add(wobble))
    }

    fn immediate(&mut self) -> String {
        if let Some(sign) = self.out_of_range() {
            return format!("S {sign}");
        }
        let (status, steps) = self.glance();
        weight(&format!("S {status}"), steps)
    }

    fn tare_immediately(&mut self) -> String {
        if let Some(sign) = self.out_of_range() {
            return format!("TI {sign}");
        }
        let (status, steps) = self.glance();
        self.tare += steps;
        weight(&format!("TI {status}"), self.tare)
    }

    fn zero_immediately(&mut self) -> String {
        if let Some(sign) = self.out_of_range() {
            return format!("ZI {sign}");
        }
        self.zero();
        "ZI A".to_owned()
    }

    /// To a command that is nothing but its word.
    fn answer(&mut self, word: &str) -> Vec<Say> {
        match word {
            "S" => self.when_stable(Stable::Weigh),
            "T" => self.when_stable(Stable::Tare),
            "Z" => self.when_stable(Stable::Zero),
            "SI" => promptly(&self.immediate()),
            "SIR" => {
                self.stream = Some(self.uptime + PROMPT);
                Vec::new()
            }
            "TI" => promptly(&self.tare_immediately()),
            "ZI" => promptly(&self.zero_immediately()),
            "TA" => promptly(&weight("TA A", self.tare)),
            "TAC" => {
                self.tare = 0;
                promptly("TAC A")
            }
            "@" => {
                self.pending = None;
                promptly(SERIAL_NUMBER)
            }
            "C" => {
                self.pending = None;
                // Two lines for one command: B is "begun, more follows".
                vec![say(PROMPT, "C B"), say(PROMPT * 2, "C A")]
            }
            "I0" => {
                let last = COMMANDS.len() - 1;
                let status = |place: usize| if place == last { 'A' } else { 'B' };
                let line = |(place, (command, level))| format!("I0 {} {level} \"{command}\"", status(place));
                lines(PROMPT, COMMANDS.into_iter().enumerate().map(line))
            }
            "I2" => promptly("I2 A \"WXS205SDU WXA-Bridge 220.00900 g\""),
            // I3 and I5 as PyLabRobot's authors found them on theirs.
            "I3" => promptly("I3 A \"1.10 18.6.4.1361.772\""),
            "I4" => promptly(SERIAL_NUMBER),
            "I5" => promptly("I5 A \"11671158C\""),
            "DW" => promptly("DW A"),
            "D" | "M21" => promptly(&format!("{word} L")),
            // Not MT-SICS: a command without a reply, to show what silence looks like.
            "QUIET" => Vec::new(),
            _ => promptly("ES"),
        }
    }

    /// To a command with parameters.
    fn answer_with(&mut self, word: &str, parameters: &str) -> Vec<Say> {
        match (word, parameters) {
            // The unit, for the host and for the display: 0 is gram.
            ("M21", "0 0" | "1 0") => promptly("M21 A"),
            ("D", text) if text.len() > 1 && text.starts_with('"') && text.ends_with('"') => promptly("D A"),
            ("TA", tare) => match tare.strip_suffix(" g").and_then(|grams| grams.trim().parse::<f64>().ok()) {
                Some(grams) if (0.0..=220.0).contains(&grams) => {
                    self.tare = steps(grams);
                    promptly(&weight("TA A", self.tare))
                }
                _ => promptly("TA L"),
            },
            ("M21" | "D", _) => promptly(&format!("{word} L")),
            // Ours: the manual leaves it open when a logical error is which.
            _ if COMMANDS.iter().any(|&(known, _)| known == word) => promptly("EL"),
            _ => promptly("ES"),
        }
    }
}

impl Instrument for Balance {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        // Whatever is asked ends the stream. (Some models go on through some commands.)
        self.stream = None;
        let Ok(text) = std::str::from_utf8(command) else { return promptly("ET") };
        if text.chars().any(|letter| !(' '..='~').contains(&letter)) {
            return promptly("ET");
        }
        match text.split_once(' ') {
            None => self.answer(text),
            Some((word, parameters)) => self.answer_with(word, parameters),
        }
    }

    fn framing(&self) -> Framing {
        Lines::crlf().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        (self.pending, self.stream) = (None, None);
        (self.zero, self.tare) = (0, 0);
        promptly(SERIAL_NUMBER)
    }

    fn wakes_at(&self) -> Option<Duration> {
        let stable = self.pending.map(|(_, at)| at);
        stable.into_iter().chain(self.stream).min()
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        self.uptime = uptime;
        let mut says = Vec::new();
        if let Some((what, at)) = self.pending
            && at <= uptime
        {
            self.pending = None;
            says.push(say(Duration::ZERO, &self.stable(what)));
        }
        if let Some(at) = self.stream
            && at <= uptime
        {
            self.stream = Some(at + STREAM_PERIOD);
            says.push(say(Duration::ZERO, &self.immediate()));
        }
        says
    }
}

/// The conversion saturates, and a load beyond the capacity shows as an overload.
fn steps(grams: f64) -> Weight {
    (grams * 100_000.0).round() as Weight
}

fn promptly(text: &str) -> Vec<Say> {
    vec![say(PROMPT, text)]
}

fn say(after: Duration, text: &str) -> Say {
    Say::after(after, format!("{text}\r\n"))
}

/// As the manual has it: the value right-aligned in ten characters, a space on either side, the unit.
fn weight(head: &str, steps: Weight) -> String {
    let sign = if steps < 0 { "-" } else { "" };
    let unit = STEPS_PER_GRAM.unsigned_abs();
    let (grams, rest) = (steps.unsigned_abs() / unit, steps.unsigned_abs() % unit);
    let value = format!("{sign}{grams}.{rest:05}");
    format!("{head} {value:>10} g")
}

/// A sequence that looks like draught: at most two steps off, the same for the same seed.
#[derive(Clone, Debug)]
struct Wobble(u64);

impl Wobble {
    fn next(&mut self) -> Weight {
        // Knuth's MMIX generator; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % 5).unwrap_or(0) - 2
    }
}
