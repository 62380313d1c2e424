//! The lifecycle: one runtime thread, and the hidden root nursery that everything set up is a child of.
//!
//! Bound to no Python task, loop or thread, so that what is set up in one cell can be stopped in another.
//!
//! # Invariants
//! 1. There is one runtime, on one thread, started on first need; nothing blocks on it and no user code runs on it.
//! 2. After `shut_down`, and in a forked child, nothing starts any more: the caller gets an error.
//! 3. A failing child never takes another with it: each has its own owner, who hears of it.

pub mod doors;
mod logbook;
mod simulated;

use std::io;
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::clock::{Clock, Moment, Seat};
use crate::descriptor;
use crate::error::{Evidence, LinkError};
use crate::link::Link;
use crate::link::berths::Berths;
use crate::link::job::Closing;
use crate::link::log::Log;
use crate::link::opener::Place;
use crate::link::recording::{Recording, Target};
use crate::link::session::Wish;
use crate::link::setup::Setup;
use crate::link::ticket::Ticket;
use crate::nursery::census::Census;
use crate::nursery::thread::{Parker, for_ever};
use crate::nursery::{Nursery, Rules};

pub use logbook::Logbook;
pub use simulated::SimulatedPort;

/// What runs behind everything.
pub struct Engine {
    place: Place,
    berths: Berths,
    links: Mutex<Vec<Weak<Link>>>,
    recordings: Mutex<Vec<Recording>>,
    logbook: Arc<Logbook>,
}

static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
static FORKED: AtomicBool = AtomicBool::new(false);
static ENDING: AtomicBool = AtomicBool::new(false);
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many Rust panics this process has seen.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Whether this process is a forked child of the one that started the engine.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Whether the process is being ended.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// The engine; started by the first call.
///
/// *Errors*: in a forked child, and once the process is ending.
pub fn engine() -> Result<&'static Engine, LinkError> {
    if is_forked() {
        return Err(LinkError::Forked);
    }
    if is_ending() {
        let about = Box::new(Evidence { link: Arc::from("labtether"), ..Evidence::default() });
        return Err(LinkError::Closed { about, why: "the process is ending".to_owned() });
    }
    match ENGINE.get_or_init(start) {
        Ok(engine) => Ok(engine),
        Err(message) => Err(LinkError::Panic { task: "start".to_owned(), message: message.clone() }),
    }
}

/// The engine, if it was ever started in this process.
pub fn started() -> Option<&'static Engine> {
    if is_forked() { None } else { ENGINE.get().and_then(|engine| engine.as_ref().ok()) }
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime, once it runs: for the holder that other extension code asks.
pub fn runtime() -> Option<&'static Runtime> {
    RUNTIME.get()
}

fn start() -> Result<Engine, String> {
    count_panics();
    let clock = Clock::common();
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().on_thread_unpark(|| clock.awake()).on_thread_park(|| clock.about_to_sleep());
    let runtime = runtime.build().map_err(|error| format!("no runtime: {error}"))?;
    let runtime = RUNTIME.get_or_init(|| runtime);
    let census = Census::new(clock);
    let rules = Rules { deadline: Moment::NEVER, grace: Duration::from_millis(200), stays: false, together: false };
    let (nursery, supervisor) = Nursery::open("lifecycle", clock, &census, None, rules);
    let place = Place { nursery, runtime: runtime.handle().clone() };
    for_ever("labtether", move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = supervisor.run() => {}
                () = clock.be_nudged() => {}
            }
        });
    })
    .map_err(|error| format!("no thread: {error}"))?;
    let (berths, links, recordings) = (Berths::default(), Mutex::default(), Mutex::default());
    Ok(Engine { place, berths, links, recordings, logbook: Arc::default() })
}

fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
}

impl Engine {
    /// Where links run.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.place.clock()
    }

    /// Who is alive, as a tree in words.
    pub fn tree(&self) -> String {
        self.place.nursery.census().tree()
    }

    /// How many tasks and threads are alive, the root itself not counted.
    pub fn alive(&self) -> usize {
        self.place.nursery.census().alive().len().saturating_sub(1)
    }

    /// What happened in the background.
    pub fn logbook(&self) -> &Arc<Logbook> {
        &self.logbook
    }

    /// Makes the clock of the process stand still but when nothing can run; it waits for `seat` whenever that works. The links and scopes
    /// that are there, by name, if there are any: then it does not. `None`: it stood still already.
    pub fn stand_still(&self, seat: &Seat) -> Option<Vec<String>> {
        let there = self.place.nursery.census().alive();
        if there.len() > 1 {
            return Some(there.iter().skip(1).map(|entry| format!("{} {:?}", entry.kind.word(), entry.name)).collect());
        }
        self.clock().stand_still(seat).then(Vec::new)
    }

    /// Lets the clock of the process go on. What is still open keeps its scale, at the system's pace.
    pub fn go_on(&self) {
        self.clock().go_on();
        self.place.nursery.census().give_clock_back();
    }

    /// Sets a link up under the hidden root.
    pub fn setup(&self, link: &Arc<Link>, wish: Wish) -> Setup {
        {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.retain(|known| known.strong_count() > 0);
            if !links.iter().any(|known| known.as_ptr() == Arc::as_ptr(link)) {
                links.push(Arc::downgrade(link));
            }
        }
        link.setup(&self.place, &self.berths, wish)
    }

    /// Stops a link.
    pub fn stop(&self, link: &Arc<Link>) -> Ticket {
        link.stop(&self.place)
    }

    /// Writes all that happens on a link from now on to a file; `header` is its first line. May block: for the caller's own thread.
    ///
    /// *Errors*: the file cannot be opened or written, or there is no thread to write it.
    pub fn record(&self, link: &Link, path: &Path, header: &str) -> io::Result<Recording> {
        let about = (link.config.name.clone(), link.config.port.clone());
        let target = Target { path, header, link: about, log: link.config.log.clone() };
        let recording = link.trace.record(target, &self.place.nursery, self.clock().now())?;
        let mut recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        recordings.retain(|known| !known.is_over());
        recordings.push(recording.clone());
        Ok(recording)
    }

    /// Runs `work` on the runtime as a child of the root.
    pub fn spawn(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        let work = async {
            work.await;
            Ok(())
        };
        // After the end nothing starts; the work is dropped, and whoever waits for it is told by that.
        let _ = self.place.nursery.spawn(name, work, None);
    }
}

/// A log that ends in the engine's book, whenever that has been started.
pub fn log() -> Log {
    Arc::new(|line| {
        if let Some(engine) = started() {
            engine.logbook.write(line);
        }
    })
}

/// How long the end of the process may take before what is left is left behind. The rest of the two seconds is the interpreter's.
const ENDING_TAKES: Duration = Duration::from_millis(1600);

/// However long lifespans took to close: for the last words, and for closing the ports.
const AT_LEAST: Duration = Duration::from_millis(500);

/// Ends everything: each session parks and closes, each wait fails with `LinkClosed`. `spent`: how much of the time has gone. Returns what
/// did not end in time. Idempotent.
pub fn shut_down(spent: Duration) -> Vec<String> {
    let Some(engine) = started() else { return Vec::new() };
    if ENDING.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    engine.go_on();
    let links: Vec<Arc<Link>> = {
        let links = engine.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().filter_map(Weak::upgrade).collect()
    };
    let parker = Parker::here();
    let wake = parker.waker();
    let nursery = engine.place.nursery.clone();
    for link in &links {
        link.end(Closing::Exit);
    }
    let watch = {
        let (links, nursery) = (links.clone(), nursery.clone());
        async move {
            for link in &links {
                link.over().await;
            }
            nursery.cancel_within("the process is ending", Duration::from_millis(100));
        }
    };
    engine.spawn("shutdown", watch);
    let ended = nursery.ended();
    let clock = engine.clock();
    let deadline = clock.now() + ENDING_TAKES.saturating_sub(spent).max(AT_LEAST);
    let mut done = parker.wait_until(ended, wake, deadline, clock);
    for recording in engine.recordings.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // By now the last thing has happened on every link; it belongs into the file.
        done &= recording.stop(deadline.since(clock.now()));
    }
    engine.logbook.close();
    if done {
        return Vec::new();
    }
    let census = nursery.census().alive();
    census.iter().skip(1).map(|entry| entry.name.to_string()).collect()
}

/// Before a fork: nothing else may change the register of descriptors until it is over.
pub fn before_fork() {
    descriptor::lock_for_fork();
}

/// After a fork, in the parent.
pub fn after_fork_in_parent() {
    descriptor::unlock_after_fork_in_parent();
}

/// After a fork, in the child: its copies of our descriptors are closed without running a destructor, and the engine is out of bounds.
pub fn after_fork_in_child() {
    if ENGINE.get().is_some() {
        FORKED.store(true, Ordering::SeqCst);
    }
    Clock::common().abandon();
    descriptor::close_all_in_child();
}
