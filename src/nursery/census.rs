//! Who is alive: one entry per nursery, task and thread, for as long as it runs. Weakly consistent, cheap, never waits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Moment};

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scope.
    Nursery,
    /// A task on the runtime thread.
    Task,
    /// An operating-system thread of ours.
    Thread,
}

impl Kind {
    /// In words.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Nursery => "nursery",
            Kind::Task => "task",
            Kind::Thread => "thread",
        }
    }
}

/// One that is alive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number; never used twice.
    pub id: u64,
    /// The scope it lives in.
    pub parent: Option<u64>,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Since when.
    pub since: Moment,
}

/// The register of the living; cheap to clone.
#[derive(Clone, Debug)]
pub struct Census(Arc<Book>);

#[derive(Debug)]
struct Book {
    clock: Clock,
    entries: Mutex<(u64, BTreeMap<u64, Entry>)>,
}

impl Census {
    /// An empty register.
    pub fn new(clock: &Clock) -> Census {
        Census(Arc::new(Book { clock: clock.clone(), entries: Mutex::default() }))
    }

    fn entries(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Entry>)> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers one; it is alive until the guard is dropped.
    pub fn enter(&self, parent: Option<u64>, kind: Kind, name: &Arc<str>) -> Alive {
        let since = self.0.clock.now();
        let mut entries = self.entries();
        entries.0 += 1;
        let id = entries.0;
        entries.1.insert(id, Entry { id, parent, kind, name: name.clone(), since });
        Alive { census: self.clone(), id }
    }

    /// Everyone, oldest first.
    pub fn alive(&self) -> Vec<Entry> {
        self.entries().1.values().cloned().collect()
    }

    /// Where nobody lives but the root, nobody has seen another time than the system's: the clock shows that again.
    pub fn give_clock_back(&self) {
        if self.0.clock.is_shifted() && self.entries().1.len() <= 1 {
            self.0.clock.give_back();
        }
    }

    /// The tree in words, one line each, children indented under their scope.
    pub fn tree(&self) -> String {
        let everyone = self.alive();
        let now = self.0.clock.now();
        let mut text = String::new();
        draw(&everyone, None, 0, now, &mut text);
        text
    }
}

fn draw(everyone: &[Entry], parent: Option<u64>, depth: usize, now: Moment, text: &mut String) {
    for entry in everyone.iter().filter(|entry| entry.parent == parent) {
        let kind = entry.kind.word();
        let age = now.since(entry.since).as_secs_f64();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:indent$}{kind} {}  {age:.1} s", "", entry.name, indent = depth * 2);
        draw(everyone, Some(entry.id), depth + 1, now, text);
    }
}

/// Alive for as long as this is held.
#[derive(Debug)]
pub struct Alive {
    census: Census,
    id: u64,
}

impl Alive {
    /// The entry's number.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.census.entries().1.remove(&self.id);
        self.census.give_clock_back();
    }
}
