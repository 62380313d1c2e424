//! The last events on a wire, kept for looking at afterwards: traces, and the notes of errors.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::log::{Level, Line, Log, Topic, Traffic, is_wire_wanted};
use super::recording::{Recording, Tap, Target};
use crate::clock::{Moment, Stamp};
use crate::error::{Seconds, Shown};
use crate::nursery::Nursery;

/// Which way an event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the instrument.
    Out,
    /// From the instrument.
    In,
    /// Neither: something happened to the link.
    Note,
}

impl Direction {
    /// The sign used in traces and transcripts.
    pub const fn sign(self) -> &'static str {
        match self {
            Direction::Out => ">",
            Direction::In => "<",
            Direction::Note => "!",
        }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Stamp,
    /// Which way.
    pub direction: Direction,
    /// The bytes, in the pieces in which they went.
    pub data: Bytes,
    /// What happened, in words; empty for plain traffic.
    pub note: String,
}

/// How many events an error carries.
const IN_AN_ERROR: usize = 6;

/// A ring of events. Written by the actor, read by anyone.
pub struct Trace {
    capacity: usize,
    /// Where it is told as it happens: the log, the link's name, its port.
    told: Option<(Log, Arc<str>, Arc<str>)>,
    events: Mutex<VecDeque<Event>>,
    /// Who writes it all down; empty of all that have ended once the next event comes.
    taps: Mutex<Vec<Tap>>,
    /// Whether there are any: what is asked for every event.
    is_recorded: AtomicBool,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Trace {
    /// Keeps the last `capacity` events; none at all if that is 0.
    pub fn new(capacity: usize, told: Option<(Log, Arc<str>, Arc<str>)>) -> Trace {
        let (events, taps, is_recorded) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Trace { capacity, told, events, taps, is_recorded }
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, and forgets the oldest when full.
    pub fn push(&self, event: Event) {
        if is_wire_wanted() {
            self.tell(&event);
        }
        if self.is_recorded.load(Ordering::Relaxed) {
            let mut taps = self.taps();
            taps.retain(|tap| tap.take(&event));
            self.is_recorded.store(!taps.is_empty(), Ordering::Relaxed);
        }
        if self.capacity == 0 {
            return;
        }
        let mut ring = self.ring();
        if ring.len() >= self.capacity {
            ring.pop_front();
        }
        ring.push_back(event);
    }

    fn taps(&self) -> MutexGuard<'_, Vec<Tap>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that happens from now on to a file. May block: for the caller's own thread.
    ///
    /// *Errors*: the file cannot be opened or written, or there is no thread to write it.
    pub fn record(&self, target: Target<'_>, nursery: &Nursery, began: Moment) -> io::Result<Recording> {
        let (recording, tap) = Recording::begin(target, began, nursery.census(), nursery.id())?;
        let mut taps = self.taps();
        taps.push(tap);
        self.is_recorded.store(true, Ordering::Relaxed);
        Ok(recording)
    }

    fn tell(&self, event: &Event) {
        let Some((log, link, port)) = &self.told else { return };
        let direction = event.direction.sign();
        let data = if event.data.is_empty() { String::new() } else { Shown(&event.data).to_string() };
        let words = [link.as_ref(), direction, &event.note, &data];
        let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let traffic = Some(Traffic { at: event.at, direction, data: event.data.clone() });
        log(Line { level: Level::Debug, topic: Topic::Wire, text, link: Some((link.clone(), port.clone())), traffic });
    }

    /// Traffic.
    pub fn wire(&self, at: Stamp, direction: Direction, data: Bytes) {
        self.push(Event { at, direction, data, note: String::new() });
    }

    /// Something that happened to the link.
    pub fn note(&self, at: Stamp, note: impl Into<String>) {
        self.push(Event { at, direction: Direction::Note, data: Bytes::new(), note: note.into() });
    }

    /// Something for the link's log.
    pub fn log(&self, level: Level, text: &str) {
        if let Some((log, link, port)) = &self.told {
            let (text, link) = (format!("{link}: {text}"), Some((link.clone(), port.clone())));
            log(Line { level, topic: Topic::Link, text, link, traffic: None });
        }
    }

    /// Something that happened to the link, and that its owner should hear of.
    pub fn warn(&self, at: Stamp, text: &str) {
        self.note(at, text);
        self.log(Level::Warning, text);
    }

    /// All that is kept, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.ring().iter().cloned().collect()
    }

    /// When something was written last, as far as is known.
    pub fn last_written(&self) -> Option<Moment> {
        self.ring().iter().rev().find(|event| event.direction == Direction::Out).map(|event| event.at.moment)
    }

    /// The last few as readable lines, timed against `now`.
    pub fn tail(&self, now: Moment) -> Vec<String> {
        let ring = self.ring();
        let skip = ring.len().saturating_sub(IN_AN_ERROR);
        ring.iter().skip(skip).map(|event| line(event, now)).collect()
    }
}

fn line(event: &Event, now: Moment) -> String {
    let ago = Seconds(now.since(event.at.moment));
    let sign = event.direction.sign();
    match (event.note.is_empty(), event.data.is_empty()) {
        (true, _) => format!("{sign} {} ({ago} s before)", Shown(&event.data)),
        (false, true) => format!("{sign} {} ({ago} s before)", event.note),
        (false, false) => format!("{sign} {} {} ({ago} s before)", event.note, Shown(&event.data)),
    }
}
