//! Instruments that are not there. What one says to what it hears is pure ([`Instrument`]: no I/O, no clock);
//! [`serve`] is the rest.

mod balance;
mod player;
mod serve;

use std::time::Duration;

use bytes::Bytes;

pub use balance::Balance;
pub use player::{Cue, Player, Progress};
pub use serve::{Served, serve};

use crate::framing::Framing;

/// A simulated instrument: messages in, messages and their times out.
///
/// One that only answers needs the first three methods. One that changes its mind about what it has not said yet
/// (because a command cancels another, or ends a stream) says nothing in advance, but asks to be woken when the time
/// has come.
pub trait Instrument: Send {
    /// What it says to `command`, which came without its terminator.
    fn hear(&mut self, command: &[u8]) -> Vec<Say>;

    /// How it tells commands apart.
    fn framing(&self) -> Framing;

    /// It is switched off and on again: forgets what it was doing. What it says when it is up.
    fn power_on(&mut self) -> Vec<Say>;

    /// When it wants to say something of its own accord, as the time since it was put into service.
    fn wakes_at(&self) -> Option<Duration> {
        None
    }

    /// It is now `uptime`. Called when [`Instrument::wakes_at`] has come, which must then move on; and before it
    /// hears or is switched on. What it says is counted from `uptime`.
    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        let _uninterested = uptime;
        Vec::new()
    }
}

/// Something that an instrument says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// How long after the command (or the waking) that it answers.
    pub after: Duration,
    /// What goes on the wire, its terminator included.
    pub bytes: Bytes,
}

impl Say {
    /// `bytes`, at once.
    pub fn now(bytes: impl Into<Bytes>) -> Say {
        Say::after(Duration::ZERO, bytes)
    }

    /// `bytes`, `after` the command.
    pub fn after(after: Duration, bytes: impl Into<Bytes>) -> Say {
        Say { after, bytes: bytes.into() }
    }
}
