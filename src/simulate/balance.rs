//! An MT-SICS balance with something on its pan. Pure: when it is what, and what it says then; never a wire or a clock.

use std::time::Duration;

use super::{Instrument, Say};
use crate::framing::{Framing, Lines};

/// A Mettler Toledo WXS205SDU with MT-SICS, as on a line of 9600 8N1 with CR LF both ways.
///
/// Knows `@`, `C`, `D`, `DW`, `I2`, `I4`, `M21`, `S`, `SI`, `SIR`, `T`, `TA`, `TAC`, `TI`, `Z` and `ZI`; says `ES` to
/// all else. Ours, and in no balance: `QUIET`, to which it says nothing.
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

/// How long it takes to answer what needs no stable weight.
const PROMPT: Duration = Duration::from_millis(1);

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
        // The conversion saturates, and a load beyond the capacity shows as an overload.
        self.load = (grams * 100_000.0).round() as Weight;
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

    fn net(&self) -> Weight {
        self.load.saturating_sub(self.zero).saturating_sub(self.tare)
    }

    fn overloaded(&self) -> bool {
        self.load > CAPACITY
    }

    /// `S`, `T`, `Z`: answered once the weight is stable.
    fn when_stable(&mut self, what: Stable) -> Vec<Say> {
        let command = what.command();
        if self.pending.is_some() {
            return promptly(&format!("{command} I"));
        }
        if self.overloaded() {
            return promptly(&format!("{command} +"));
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
            Stable::Zero => self.zeroed(),
        }
    }

    fn zeroed(&mut self) -> String {
        // Zeroing clears the tare: a tare is counted from the zero point.
        (self.zero, self.tare) = (self.load, 0);
        "Z A".to_owned()
    }

    /// The weight as it is just now, and `S` if it happens to stand still, else `D`.
    fn glance(&mut self) -> (char, Weight) {
        let wobble = self.wobble.next();
        let status = if wobble == 0 && self.pending.is_none() { 'S' } else { 'D' };
        (status, self.net().saturating_add(wobble))
    }

    fn immediate(&mut self) -> String {
        if self.overloaded() {
            return "S +".to_owned();
        }
        let (status, steps) = self.glance();
        weight(&format!("S {status}"), steps)
    }

    fn tare_immediately(&mut self) -> String {
        if self.overloaded() {
            return "TI +".to_owned();
        }
        let (status, steps) = self.glance();
        self.tare += steps;
        weight(&format!("TI {status}"), self.tare)
    }
}

impl Instrument for Balance {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        // Whatever is asked ends the stream. (Some models go on through some commands.)
        self.stream = None;
        match command {
            b"S" => self.when_stable(Stable::Weigh),
            b"T" => self.when_stable(Stable::Tare),
            b"Z" => self.when_stable(Stable::Zero),
            b"SI" => promptly(&self.immediate()),
            b"SIR" => {
                self.stream = Some(self.uptime + PROMPT);
                Vec::new()
            }
            b"TI" => promptly(&self.tare_immediately()),
            b"ZI" => promptly(&self.zeroed()),
            b"TA" => promptly(&weight("TA A", self.tare)),
            b"TAC" => {
                self.tare = 0;
                promptly("TAC A")
            }
            b"@" => {
                self.pending = None;
                promptly(SERIAL_NUMBER)
            }
            b"C" => {
                self.pending = None;
                // Two lines for one command: B is "begun, more follows".
                vec![say(PROMPT, "C B"), say(PROMPT * 2, "C A")]
            }
            b"I2" => promptly("I2 A \"WXS205SDU WXA-Bridge 220.00900 g\""),
            b"I4" => promptly(SERIAL_NUMBER),
            b"DW" => promptly("DW A"),
            // The unit, for the host and for the display: 0 is gram.
            b"M21 0 0" | b"M21 1 0" => promptly("M21 A"),
            // Not MT-SICS: a command without a reply, to show what silence looks like.
            b"QUIET" => Vec::new(),
            _ if command.starts_with(b"D \"") && command.len() > 3 && command.ends_with(b"\"") => promptly("D A"),
            _ => promptly("ES"),
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
