//! Instruments that are not there. What one says to what it hears is pure ([`Instrument`]: no I/O, no clock);
//! [`serve`] is the rest.

pub mod devices;
pub mod faults;
mod outside;
mod player;
mod script;
mod served;
mod service;
mod wire;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

pub use devices::Balance;
pub use outside::{Memory, MemoryDoor, Net, Outside, Terminal};
pub use player::{Cue, Player, Progress};
pub use script::{Accepts, Heard, Node, Part, Played, Raised, Report, Script, Step, StepId, Template, Verdict, Words};
pub use served::{Look, Served};
pub use service::{serve, serve_outside};
pub use wire::{Direction, Event};

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

    /// A host has connected, where that can be seen: over a network. What it says to that.
    fn greet(&mut self) -> Vec<Say> {
        Vec::new()
    }

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

    /// The most bytes it keeps for a host that does not read; what it says beyond is lost, as in any instrument.
    fn most_unread(&self) -> usize {
        65_536
    }

    /// Whether it has not yet made up its mind about the last command, because code of the user's own was asked. It hears the next one
    /// after that.
    fn ponders(&self) -> bool {
        false
    }

    /// The rest of what it says to the last command, once that is known.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Say>> {
        let _ = cx;
        Poll::Ready(Vec::new())
    }
}

impl<I: Instrument + ?Sized> Instrument for Box<I> {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        (**self).hear(command)
    }

    fn framing(&self) -> Framing {
        (**self).framing()
    }

    fn power_on(&mut self) -> Vec<Say> {
        (**self).power_on()
    }

    fn greet(&mut self) -> Vec<Say> {
        (**self).greet()
    }

    fn wakes_at(&self) -> Option<Duration> {
        (**self).wakes_at()
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        (**self).wake(uptime)
    }

    fn ponders(&self) -> bool {
        (**self).ponders()
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Say>> {
        (**self).poll_answer(cx)
    }
}

/// Something that an instrument does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// How long after the command (or the waking) that it answers.
    pub after: Duration,
    /// What.
    pub what: Deed,
    /// It answers something: a host that does not read it has missed a reply.
    pub asked: bool,
}

/// What an instrument can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// This goes on the wire, its terminator included.
    Bytes(Bytes),
    /// The cable comes off.
    Unplug,
    /// The cable is on again.
    Plug,
}

impl Say {
    /// `bytes`, at once.
    pub fn now(bytes: impl Into<Bytes>) -> Say {
        Say::after(Duration::ZERO, bytes)
    }

    /// `bytes`, `after` the command.
    pub fn after(after: Duration, bytes: impl Into<Bytes>) -> Say {
        Say { after, what: Deed::Bytes(bytes.into()), asked: true }
    }

    /// The same, of its own accord.
    #[must_use]
    pub fn unasked(mut self) -> Say {
        self.asked = false;
        self
    }
}
