//! What goes over a wire, written to a file as it happens. The trace hands over every event; a thread of the recording's own writes,
//! so that neither the runtime nor anybody's event loop ever waits for a disk.
//!
//! # Invariants
//! 1. Handing over never waits for the file: what does not fit into [`ROOM`] is counted, and the file says where it is missing.
//! 2. An event is one line, written by one call, in the order in which the events happened; a line is never changed again.
//! 3. A file that fails ends the recording, never the link; it is told in the log at once and to whoever stops the recording.

mod line;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::log::{Level, Line, Log, Topic};
use super::trace::Event;
use crate::clock::Moment;
use crate::descriptor;
use crate::nursery::census::Census;
use crate::nursery::thread::start;

/// The most bytes that wait for the file.
const ROOM: usize = 4 << 20;

/// What an event takes besides its bytes.
const EACH: usize = 128;

/// Where a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Recording,
    /// What waits is still written.
    Ending,
    Over,
}

/// What a recording has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// "recording", "stopped" or "failed".
    pub state: &'static str,
    /// Events written.
    pub events: u64,
    /// Of those that are traffic, the bytes.
    pub bytes: u64,
    /// Events that were not written because the file took them too slowly.
    pub dropped: u64,
}

/// What was not written: events, their bytes, the time of the last.
type Gap = (u64, u64, Moment);

#[derive(Debug)]
struct State {
    phase: Phase,
    waiting: VecDeque<Event>,
    /// How much of [`ROOM`] they take.
    taken: usize,
    /// Missing after what waits. Until the writer has come for both, nothing more is taken: a gap is in one place.
    missing: Option<Gap>,
    dropped: u64,
    events: u64,
    bytes: u64,
    failed: Option<Arc<io::Error>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    began: Moment,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut state = self.state();
        if state.phase == Phase::Recording {
            state.phase = Phase::Ending;
            self.changed.notify_all();
        }
    }
}

/// A recording. Letting go of it stops nothing: it ends with its link, or when it is stopped.
#[derive(Clone, Debug)]
pub struct Recording(Arc<Shared>);

/// The link's end of it: when that goes, the recording ends.
#[derive(Debug)]
pub(super) struct Tap(Arc<Shared>);

impl Drop for Tap {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Tap {
    /// Takes an event down. Whether it is still recording.
    pub(super) fn take(&self, event: &Event) -> bool {
        let mut state = self.0.state();
        if state.phase != Phase::Recording {
            return false;
        }
        let size = EACH + event.data.len() + event.note.len();
        if state.missing.is_some() || state.taken + size > ROOM {
            let (events, bytes, _) = state.missing.unwrap_or((0, 0, self.0.began));
            let length = u64::try_from(event.data.len()).unwrap_or(0);
            state.missing = Some((events + 1, bytes + length, event.at.moment));
            state.dropped += 1;
        } else {
            state.taken += size;
            state.waiting.push_back(event.clone());
        }
        drop(state);
        self.0.changed.notify_all();
        true
    }
}

/// Where a recording goes, and who is told if it does not.
pub struct Target<'a> {
    /// The file; what it holds stays.
    pub path: &'a Path,
    /// The first line, without its end.
    pub header: &'a str,
    /// The link's name and port.
    pub link: (Arc<str>, Arc<str>),
    /// Told when the file fails.
    pub log: Log,
}

impl Recording {
    /// Opens the file, writes the header and starts the thread that writes the rest. May block: for the caller's own thread.
    ///
    /// *Errors*: the file cannot be opened or written, or there is no thread.
    pub(super) fn begin(
        target: Target<'_>,
        began: Moment,
        census: &Census,
        parent: u64,
    ) -> io::Result<(Recording, Tap)> {
        let torn = ends_in_the_middle_of_a_line(target.path)?;
        let mut file = OpenOptions::new().create(true).append(true).open(target.path)?;
        file.write_all(format!("{}{}\n", if torn { "\n" } else { "" }, target.header).as_bytes())?;
        let state = State {
            phase: Phase::Recording,
            waiting: VecDeque::new(),
            taken: 0,
            missing: None,
            dropped: 0,
            events: 0,
            bytes: 0,
            failed: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), began });
        let writer = shared.clone();
        let (path, link, log) = (target.path.display().to_string(), target.link, target.log);
        let name = format!("labtether-record-{}", link.0);
        let work = move || {
            let over = Over(writer);
            if let Err(error) = over.0.write_down(file) {
                let text = format!("{}: the recording to {path} has ended: {error}", link.0);
                over.0.state().failed = Some(Arc::new(error));
                log(Line { level: Level::Warning, topic: Topic::Link, text, link: Some(link), traffic: None });
            }
            over
        };
        // It is over when the thread is out of the census: nothing of it is left then.
        start(census, Some(parent), &name, work, drop)?;
        Ok((Recording(shared.clone()), Tap(shared)))
    }

    /// Ends it and waits until all that happened is in the file, for at most `patience`. Whether that was enough.
    pub fn stop(&self, patience: Duration) -> bool {
        self.0.end();
        let state = self.0.state();
        let waited = self.0.changed.wait_timeout_while(state, patience, |state| state.phase != Phase::Over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.phase == Phase::Over
    }

    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.0.state().phase == Phase::Over
    }

    /// What it has come to.
    pub fn tally(&self) -> Tally {
        let state = self.0.state();
        let word = match (&state.failed, state.phase) {
            (Some(_), _) => "failed",
            (None, Phase::Recording) => "recording",
            (None, Phase::Ending | Phase::Over) => "stopped",
        };
        Tally { state: word, events: state.events, bytes: state.bytes, dropped: state.dropped }
    }

    /// Why it failed, if it did.
    pub fn failed(&self) -> Option<Arc<io::Error>> {
        self.0.state().failed.clone()
    }
}

/// Whatever ends the thread, a panic too, whoever waits for it is told.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.phase = Phase::Over;
        state.waiting.clear();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// The thread: writes what comes until it is to end and nothing waits.
    fn write_down(&self, mut file: File) -> io::Result<()> {
        let _registered = descriptor::register(&file);
        while let Some((events, missing)) = self.next() {
            for event in events {
                file.write_all(line::line(&event, self.began).as_bytes())?;
                let mut state = self.state();
                state.events += 1;
                state.bytes += u64::try_from(event.data.len()).unwrap_or(0);
            }
            if let Some((events, bytes, at)) = missing {
                file.write_all(line::gap(events, bytes, at, self.began).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Waits for something to write; `None` when no more will come.
    fn next(&self) -> Option<(VecDeque<Event>, Option<Gap>)> {
        let nothing = |state: &State| state.waiting.is_empty() && state.missing.is_none();
        let idle = |state: &mut State| nothing(state) && state.phase == Phase::Recording;
        let mut state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        if nothing(&state) {
            return None;
        }
        state.taken = 0;
        Some((std::mem::take(&mut state.waiting), state.missing.take()))
    }
}

/// A crash may have torn the last line of an earlier recording: what comes next must not be glued to it.
fn ends_in_the_middle_of_a_line(path: &Path) -> io::Result<bool> {
    // A pipe with a name has no end to look at.
    if !std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() > 0) {
        return Ok(false);
    }
    let mut last = [0];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
