//! What goes wrong on real lines, as values: the same damage on every run and every machine. Pure: told what is said
//! and when, it tells what comes and when; never a clock, a wire or a source of chance that it does not own.
//!
//! # Invariants
//! 1. Nothing comes before it was said, and what is said later comes later: a line is one queue, whatever is done to
//!    it. (When the cable will be plugged in again is told in advance.)
//! 2. What happens to a message depends on its number, its bytes, its times and the fault's seed: not on what was said
//!    before it, except that it may have to wait behind that.
//! 3. A message stays one message to the faults that follow, however it has been cut.

mod damage;
mod dice;
mod spoken;
mod stage;
mod timing;

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;

use spoken::{Item, Spoken};
use stage::{Stage, through};

/// Something that goes wrong. Several are in force one after another: each meets what the one before has left.
///
/// A message is what the instrument says at once, its terminator included; they are numbered from 1 in the order in
/// which they are said, whatever becomes of them. An echo is no message: only what the line does to everything
/// ([`Delay`](Fault::Delay), [`Jitter`](Fault::Jitter), [`Rate`](Fault::Rate), [`Fragment`](Fault::Fragment),
/// [`Coalesce`](Fault::Coalesce)) is done to it too.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// What is said comes that much later, and what is said after it waits behind it. So do all that buffer: a USB
    /// adapter's latency timer (16 ms unless told otherwise), a device server, a busy controller, a network.
    Delay {
        /// How much later.
        by: Duration,
        /// Which messages, and each echo if it is all of them.
        which: Which,
    },
    /// Each message is late by another time, from none to `most`; their order is kept. Firmware that polls its port
    /// between two motor steps answers like this, and so does any network.
    Jitter {
        /// The most that a message is late.
        most: Duration,
        /// Which times.
        seed: u64,
    },
    /// Each byte takes its time on the line, as a UART has it: messages come in small pieces, the first of them one
    /// byte's time after it was said, and queue behind one another. A pseudo-terminal has no speed at all, so that
    /// without this a reply comes whole as it never does at 9600 baud. Bytes that take less than a millisecond come
    /// in pieces of about one, as receivers with a FIFO and USB adapters hand them over.
    Rate {
        /// Bits in a second.
        baudrate: NonZeroU32,
        /// Bits on the line for one byte: 10 with 8N1, 11 with a parity bit or two stop bits.
        bits: NonZeroU32,
    },
    /// Messages come in pieces, cut anywhere: in the midst of a number, between CR and LF. A read returns what has
    /// come, and nothing on the way (driver, adapter, TCP) knows where a message ends.
    Fragment {
        /// How long the pieces are.
        sizes: Sizes,
        /// From one piece to the next. With none they would be read as one.
        gap: Duration,
    },
    /// What is said within that time of the first comes together at its end: two replies in one read, as TCP (Nagle's
    /// algorithm), device servers and USB adapters deliver them.
    Coalesce {
        /// For how long what is said is held back.
        within: Duration,
    },
    /// The message never comes. An overrun in a receiver without flow control loses bytes; instruments ignore
    /// commands that come too soon; UDP loses packets.
    Drop {
        /// Which messages.
        which: Which,
    },
    /// Other bits in that many bytes of the message, its terminator among them: a ground loop, a motor nearby, a cable
    /// too long, a baud rate a little off. Never the same message again, unless it has no bytes.
    Garble {
        /// In how many bytes; in all of a shorter message.
        flips: usize,
        /// Which messages. Its seed decides which bits, too.
        which: Which,
    },
    /// The message comes again. Repeaters do this on radio links, and so do instruments that have not seen an
    /// acknowledgement. On a protocol without ids nothing tells a repetition from the next reply.
    Duplicate {
        /// How many times more.
        times: u32,
        /// From the end of one to the beginning of the next.
        gap: Duration,
        /// Which messages.
        which: Which,
    },
    /// What the host sends comes back, as it came and before any reply to it: RS-485 on two wires, whose transceiver
    /// hears itself, and instruments made for a terminal.
    Echo,
    /// Only the beginning of the message comes, its terminator not: a full buffer, a reset in the midst of a reply.
    Truncate {
        /// How many bytes come.
        keep: usize,
        /// Which messages.
        which: Which,
    },
    /// It says nothing, though it hears: firmware that hangs, an instrument taken to local mode, a loose TX wire.
    Silence {
        /// How many messages come before.
        after: u64,
        /// How many do not; None: no more ever.
        messages: Option<u64>,
    },
    /// The cable is pulled, once: an adapter that resets, a foot, a TCP connection that the other side gives up.
    Disconnect {
        /// How many messages come before. With 0 and no `in_message`: as soon as it hears anything.
        after: u64,
        /// Only after that many bytes of the message that follows them; what is left of it never comes.
        in_message: Option<usize>,
        /// When it is plugged in again, counted from then; None: not by itself. What is said meanwhile is lost by
        /// whoever serves the instrument, in whose hands the cable is.
        back: Option<Duration>,
    },
    /// The first attempts to open fail: a device server that still holds the last connection, an adapter that is not
    /// there yet.
    Refuse {
        /// How many.
        times: u64,
    },
}

/// How long the pieces of a message are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All of this length, but the last.
    Every(NonZeroUsize),
    /// These, and what is left then is one more.
    Given(Vec<NonZeroUsize>),
    /// Between one byte and a quarter of the message, or four bytes if that is more.
    Random {
        /// Which.
        seed: u64,
    },
}

/// Which messages a fault strikes.
#[derive(Clone, Debug, PartialEq)]
pub struct Which {
    /// Of these numbers, counted from 1; None: of all.
    pub only: Option<BTreeSet<u64>>,
    /// How likely each of them is struck, from 0 to 1.
    pub chance: f64,
    /// Decides what chance leaves open.
    pub seed: u64,
}

impl Which {
    /// Every message.
    pub fn all() -> Which {
        Which { only: None, chance: 1.0, seed: 0 }
    }

    /// The messages of these numbers, counted from 1.
    pub fn only(numbers: impl IntoIterator<Item = u64>) -> Which {
        Which { only: Some(numbers.into_iter().collect()), ..Which::all() }
    }

    /// Each message with this chance; another choice for each seed.
    pub fn some(chance: f64, seed: u64) -> Which {
        Which { only: None, chance, seed }
    }

    /// With another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Which {
        Which { seed, ..self }
    }
}

/// What happens on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// These bytes come. What comes at the same time comes together.
    Bytes {
        /// When, as the time since the instrument was put into service.
        at: Duration,
        /// What.
        bytes: Bytes,
    },
    /// The cable is pulled.
    Disconnect {
        /// When.
        at: Duration,
    },
    /// It is plugged in again.
    Reconnect {
        /// When.
        at: Duration,
    },
}

impl Happening {
    /// When it happens.
    pub fn at(&self) -> Duration {
        match self {
            Happening::Bytes { at, .. } | Happening::Disconnect { at } | Happening::Reconnect { at } => *at,
        }
    }
}

/// The faults of one instrument, in force, and how far each has come.
#[derive(Clone, Debug)]
pub struct Faults {
    stages: Vec<Stage>,
    said: u64,
    heard: u64,
}

impl Faults {
    /// As they are before anything is said.
    pub fn new(faults: Vec<Fault>) -> Faults {
        Faults { stages: faults.into_iter().map(Stage::new).collect(), said: 0, heard: 0 }
    }

    /// The instrument says `bytes`, one message with its terminator, at `at`: the time since it was put into service,
    /// which never goes back from call to call.
    ///
    /// What comes of it, in order of time; never before `at`.
    pub fn say(&mut self, at: Duration, bytes: &Bytes) -> Vec<Happening> {
        self.said += 1;
        let message = Spoken::message(self.said, at, bytes.clone());
        happenings(through(&mut self.stages, vec![Item::Spoken(message)]))
    }

    /// `bytes` came from the host at `at`, cut anyhow. What comes of that, in order of time.
    pub fn hear(&mut self, at: Duration, bytes: &[u8]) -> Vec<Happening> {
        self.heard += 1;
        let mut items = Vec::new();
        let mut stages = self.stages.as_mut_slice();
        while let Some((stage, after)) = stages.split_first_mut() {
            let own = stage.hear(self.heard, at, bytes).into_iter().collect();
            items.extend(through(after, own));
            stages = after;
        }
        happenings(items)
    }

    /// Whether the attempt to open that comes now is refused.
    pub fn refuses(&mut self) -> bool {
        self.stages.iter_mut().any(Stage::refuses)
    }
}

fn happenings(items: Vec<Item>) -> Vec<Happening> {
    let mut happenings: Vec<Happening> = items.into_iter().flat_map(Item::happenings).collect();
    happenings.sort_by_key(Happening::at);
    happenings
}
