//! Links: a transport, a framing and the loop that owns both. Here is the handle: what it is made of, and its phases.
//!
//! A query's way: a [`Link`] takes a job to the actor (`desk.rs`) and holds a ticket; `actor.rs` runs the wire; `conversation.rs` decides; the
//! reply wakes the ticket.

mod aborting;
pub mod actor;
mod away;
pub mod berths;
pub mod controls;
pub mod conversation;
pub mod desk;
mod echo;
pub mod feed;
mod flights;
mod hearing;
pub mod job;
mod keepalive;
mod last_words;
mod leaving;
mod letters;
mod limits;
mod loans;
pub mod log;
mod making_way;
pub mod opener;
mod output;
mod pace;
mod poll;
pub mod question;
mod queue;
pub mod reconnecting;
pub mod recording;
pub mod rules;
pub mod session;
pub mod setup;
mod talk;
pub mod ticket;
pub mod trace;
mod turns;
mod unasked;
mod writing;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use regex::bytes::Regex;
use tokio::sync::mpsc::error::SendError;

use crate::clock::{Clock, Moment};
use crate::error::{Evidence, LinkError, OpenError};
use job::{Asker, Closing, Job, Request, Sink, What};
use log::{Level, Line, Log, Topic};
use opener::Opener;
use reconnecting::Ready;
use rules::{Rules, code_and_text};
use session::Session;
use ticket::{Counts, Gauge, Pending, Ticket, Verdict, next_id, ticket};
use trace::Trace;

/// What a link was made with.
pub struct Config {
    /// Its name.
    pub name: Arc<str>,
    /// The port in words.
    pub port: Arc<str>,
    /// How its pipe is opened.
    pub opener: Box<dyn Opener>,
    /// How it talks. The name and the port in it are those above.
    pub rules: Rules,
    /// How many events the trace keeps.
    pub trace: usize,
    /// How long closing may wait for output to leave.
    pub close_timeout: Duration,
    /// Last words, framed, that Rust writes where Python cannot.
    pub park: Option<Bytes>,
    /// What readies a new connection, after a lost one.
    pub ready: Option<Ready>,
    /// Where log lines go.
    pub log: Log,
}

impl Config {
    fn rules(&self) -> Rules {
        Rules { name: self.name.clone(), port: self.port.clone(), ..self.rules.clone() }
    }
}

/// Where a link stands.
pub(crate) enum Phase {
    /// Nothing is open.
    Closed,
    /// On the way.
    Opening(Arc<Session>),
    /// Usable.
    Open(Arc<Session>),
    /// The port has gone, and is looked for.
    Reconnecting(Arc<Session>),
    /// On the way down.
    Closing(Arc<Session>),
    /// The port went away; stays until `stop()` or `setup()`.
    Lost { session: Arc<Session>, cause: Arc<io::Error> },
}

impl Phase {
    fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Phase::Closed => None,
            Phase::Opening(session)
            | Phase::Open(session)
            | Phase::Reconnecting(session)
            | Phase::Closing(session)
            | Phase::Lost { session, .. } => Some(session),
        }
    }
}

/// A link. Shared by its faces (through a [`Tether`]), its session and whoever looks at it.
pub struct Link {
    /// What it was made with.
    pub config: Config,
    /// The last events on its wire.
    pub trace: Arc<Trace>,
    phase: Mutex<Phase>,
    /// How often it was stopped: a setup that began before a stop ends with it.
    stops: AtomicU64,
    /// The lifespan that opened it; zero: none did.
    lifespan: AtomicU64,
    gauge: Arc<Gauge>,
}

impl Link {
    /// A closed link; nothing is touched yet.
    pub fn new(config: Config) -> Arc<Link> {
        let trace = Trace::new(config.trace, Some((config.log.clone(), config.name.clone(), config.port.clone())));
        let trace = Arc::new(trace);
        Arc::new(Link {
            config,
            trace,
            phase: Mutex::new(Phase::Closed),
            stops: AtomicU64::new(0),
            lifespan: AtomicU64::new(0),
            gauge: Arc::default(),
        })
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The word for where it stands.
    pub fn state(&self) -> &'static str {
        match &*self.phase() {
            Phase::Closed => "closed",
            Phase::Opening(_) => "opening",
            Phase::Open(_) => "open",
            Phase::Reconnecting(_) => "reconnecting",
            Phase::Closing(_) => "closing",
            Phase::Lost { .. } => "lost",
        }
    }

    fn is_open(&self) -> bool {
        matches!(&*self.phase(), Phase::Open(_))
    }

    /// Whether somebody is being answered, waits for a turn, or is owed something.
    pub fn is_busy(&self) -> bool {
        self.gauge.busy.load(Ordering::Relaxed)
    }

    fn is_closing(&self) -> bool {
        matches!(&*self.phase(), Phase::Closing(_) | Phase::Lost { .. })
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.phase().session().cloned()
    }

    /// Moves on, if `session` is still the one that counts.
    fn enter(&self, session: &Arc<Session>, next: Phase) {
        let mut phase = self.phase();
        if phase.session().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *phase = next;
        }
    }

    /// Exchanges, bytes, and the like, so far.
    pub fn counts(&self) -> Counts {
        self.gauge.counts()
    }

    fn log(&self, level: Level, text: String) {
        let link = Some((self.config.name.clone(), self.config.port.clone()));
        (self.config.log)(Line { level, topic: Topic::Link, text, link, traffic: None });
    }

    fn about(&self, command: Option<Bytes>) -> Box<Evidence> {
        Box::new(Evidence {
            link: self.config.name.clone(),
            port: self.config.port.clone(),
            command,
            ..Evidence::default()
        })
    }

    fn closed(&self, why: &str) -> LinkError {
        LinkError::Closed { about: self.about(None), why: why.to_owned() }
    }

    /// What a face of it raises that is not set up.
    pub fn not_set_up(&self) -> LinkError {
        self.closed("it is not set up; enter it with `async with`, or await its setup()")
    }

    fn busy(&self, why: String) -> LinkError {
        LinkError::Busy { about: self.about(None), why, lifespan: 0 }
    }

    /// The error for a reply that was heard whole, and made no sense to its asker.
    pub fn unreadable(&self, why: String, heard: Bytes, command: Option<Bytes>, now: Option<Moment>) -> LinkError {
        let mut about = self.about(command);
        about.heard = heard;
        if let Some(now) = now {
            about.elapsed = self.trace.last_written().map(|written| now.since(written));
            about.tail = self.trace.tail(now);
        }
        LinkError::Frame { about, why, cause: None }
    }

    /// The error that the reply `heard` is, by the rules.
    pub fn refusal(&self, heard: &Bytes, now: Option<Moment>) -> Option<LinkError> {
        let rules = &self.config.rules;
        let found = |pattern: &Option<Regex>| pattern.as_ref().and_then(|pattern| code_and_text(pattern, heard));
        let (busy, (code, text)) = match found(&rules.busy) {
            Some(parts) => (true, parts),
            None => (false, found(&rules.error)?),
        };
        let mut about = self.about(None);
        about.heard = heard.clone();
        about.tail = now.map_or_else(Vec::new, |now| self.trace.tail(now));
        Some(LinkError::Instrument { about, busy, code, text, reply: heard.clone() })
    }

    fn open_failed(&self, cause: OpenError, port: &str, elapsed: Duration) -> LinkError {
        let mut about = self.about(None);
        about.port = Arc::from(port);
        about.elapsed = Some(elapsed);
        LinkError::Open { about, cause }
    }

    /// The session that can be asked, or why there is none.
    fn open_session(&self, command: Option<&Bytes>, now: Moment) -> Result<Arc<Session>, LinkError> {
        let mut about = self.about(command.cloned());
        let why = match &*self.phase() {
            Phase::Open(session) | Phase::Reconnecting(session) => return Ok(session.clone()),
            Phase::Lost { cause, .. } => {
                about.tail = self.trace.tail(now);
                about.elapsed = Some(Duration::ZERO);
                return Err(LinkError::Lost { about, cause: cause.clone() });
            }
            Phase::Closed => "it is not set up; enter it with `async with`, or await its setup()",
            Phase::Opening(_) => "it is still being set up",
            Phase::Closing(_) => "it is being stopped",
        };
        Err(LinkError::Closed { about, why: why.to_owned() })
    }

    /// Asks for something; the ticket is the wait.
    pub fn ask(&self, what: What, talk: Option<u64>, limit: Duration, turn: Duration, clock: &Clock) -> Ticket {
        self.ask_as(Asker::Anyone, what, talk, limit, turn, clock)
    }

    /// The same, in somebody's place.
    pub fn ask_as(
        &self,
        asker: Asker,
        what: What,
        talk: Option<u64>,
        limit: Duration,
        turn: Duration,
        clock: &Clock,
    ) -> Ticket {
        let asked = clock.now();
        let command = match &what {
            What::Query(question) => Some(&question.command),
            What::Send { command, .. } => Some(command),
            _ => None,
        };
        let id = next_id();
        match self.open_session(command, asked) {
            Ok(session) => {
                let (ticket, reply) = ticket(id, &self.config.name, Some(session.mailbox.clone()));
                let job = Job { id, talk, what, limit, turn, asked, asker, reply: Sink::Ticket(reply) };
                if let Some(job) = session.desk.ask(job)
                    && let Err(SendError(Request::Do(job))) = session.mailbox.send(Request::Do(job))
                    && let Sink::Ticket(reply) = job.reply
                {
                    // The session has ended in this instant, and its phase says how.
                    reply.give(Err(self.no_mailbox(asked)));
                }
                ticket
            }
            Err(error) => {
                let (ticket, reply) = ticket(id, &self.config.name, None);
                reply.give(Err(error));
                ticket
            }
        }
    }

    /// Tells the actor something that has no answer.
    ///
    /// *Errors*: the link is not open.
    pub fn tell(&self, request: Request, clock: &Clock) -> Result<(), LinkError> {
        let now = clock.now();
        self.open_session(None, now)?.mailbox.send(request).map_err(|_| self.no_mailbox(now))
    }

    fn no_mailbox(&self, now: Moment) -> LinkError {
        self.open_session(None, now).err().unwrap_or_else(|| self.closed("it was stopped"))
    }

    /// Tells the session, if there is one, to end. Does not wait, but from now on nobody takes it for open.
    pub fn end(&self, why: Closing) {
        let mut phase = self.phase();
        let Some(session) = phase.session().cloned() else { return };
        if matches!(&*phase, Phase::Open(_) | Phase::Opening(_) | Phase::Reconnecting(_)) {
            *phase = Phase::Closing(session.clone());
        }
        drop(phase);
        session.close(why);
    }

    /// Waits until no session is left.
    pub async fn over(&self) {
        if let Some(session) = self.session() {
            session.over().await;
        }
    }

    /// What it was lost by, if it was.
    pub fn why_lost(&self, now: Moment) -> Option<LinkError> {
        self.open_session(None, now).err().filter(|error| matches!(error, LinkError::Lost { .. }))
    }

    /// The lifespan that opened it, by number; zero: none did.
    pub fn lifespan(&self) -> u64 {
        self.lifespan.load(Ordering::Relaxed)
    }

    /// It belongs to a lifespan from now on; zero: to none.
    pub fn belong_to(&self, lifespan: u64) {
        self.lifespan.store(lifespan, Ordering::Relaxed);
    }

    /// Where it was set up, if it is.
    pub fn set_up_at(&self) -> Option<String> {
        self.session().map(|session| session.place.clone())
    }
}

/// What faces, iterators and pending operations hold: when the last is dropped, the link closes itself.
///
/// Dropping never waits: it only posts the order.
pub struct Tether(pub Arc<Link>);

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.end(Closing::Forgotten);
    }
}

/// A pending operation that keeps its link from being forgotten.
pub struct Held<P> {
    /// What is awaited.
    pub pending: P,
    /// For whose sake.
    pub tether: Arc<Tether>,
}

impl<P: Pending> Pending for Held<P> {
    fn poll_claim(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Verdict> {
        self.pending.poll_claim(cx)
    }

    fn cancel(&mut self) {
        self.pending.cancel();
    }
}
