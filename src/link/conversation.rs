//! Who may speak, who is answered, and what is owed: a link's conversation, without I/O and without a clock.
//!
//! The actor tells it what was asked, read and written, and what time it is; it says what to write next and when to be called again.
//! What is asked is in `letters.rs`, who has the line in `turns.rs`, what incoming bytes mean in `hearing.rs`, exchanges in `talk.rs`,
//! what goes back when its asker leaves in `loans.rs`.
//!
//! # Invariants
//! 1. At most one exchange has the line. A reply can therefore only belong to it.
//! 2. An exchange that was written is read to its reply, or to its deadline and a drain, even when nobody waits for it any more (a debt).
//! 3. Bytes are dropped only as a late reply, by `discard`, or at the end of the session; each time the trace says so.
//! 4. Every job ends: by its answer, its deadline, its asker's cancel, or the end of the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use regex::bytes::Regex;
use tokio::sync::mpsc;

use super::aborting::Aborting;
use super::away::Access;
use super::controls::Doing;
use super::echo::Echo;
use super::flights::Flights;
use super::job::{Job, Request, Sink, Want, What};
use super::loans::Loan;
use super::making_way::{Held, MadeWay};
use super::output::{Frame, Output, Owner};
use super::poll::Polls;
use super::queue::Queue;
use super::rules::{IdOf, Pacing, Rules};
use super::talk::Talk;
use super::ticket::{Counts, Gauge, Heard, Verdict};
use super::trace::Trace;
use super::unasked::Unasked;
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, Evidence, LinkError};
use crate::framing::Framing;
use crate::nursery::outcome::is_unwinding;

/// Unread input that nobody waits for.
const MOST_UNREAD: usize = 1 << 20;

/// What is owed after an asker has left.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    /// One message; or where it was waited for by name, messages up to and including one that matches `until`. Others than `accept`
    /// are somebody else's.
    Message { framing: Framing, until: Option<Regex>, accept: Option<Regex> },
    /// So many bytes.
    Bytes(Want),
    /// Whatever comes, until the line is quiet.
    Anything,
}

#[derive(Debug)]
pub(super) struct Debt {
    /// In the order in which it will come.
    pub(super) owed: VecDeque<Owed>,
    pub(super) command: Option<Bytes>,
    pub(super) until: Moment,
    /// Where it is over when the line is quiet: when it is over if the line is not.
    pub(super) at_most: Moment,
    /// The query whose frame is still on its way out.
    pub(super) unwritten: bool,
}

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) job: Job,
    pub(super) since: Moment,
    pub(super) started: Option<Moment>,
    pub(super) written: bool,
    pub(super) deadline: Moment,
}

#[derive(Debug)]
pub(super) enum Current {
    Query(Box<Asked>),
    Talk(Box<Talk>),
    Resync { since: Moment, deadline: Moment, written: bool },
    Abort(Box<Aborting>),
    Control,
}

/// A job that waits for bytes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) job: Job,
    /// None while it has not got its turn.
    pub(super) deadline: Option<Moment>,
    pub(super) skipped: Vec<Heard>,
    /// What was taken from the input for it, as it came.
    pub(super) taken: Vec<Bytes>,
}

impl Waiting {
    pub(super) fn new(job: Job, deadline: Option<Moment>) -> Waiting {
        Waiting { job, deadline, skipped: Vec::new(), taken: Vec::new() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Conversation {
    pub(super) rules: Rules,
    pub(super) trace: Arc<Trace>,
    pub(super) myself: mpsc::UnboundedSender<Request>,
    /// What has come and is not a message yet. The actor reads into it.
    pub input: BytesMut,
    /// Raw bytes that were there before the exchange that has the line began; not its reply.
    pub(super) stale: BytesMut,
    pub(super) last_heard: Option<Stamp>,
    /// Up to when what has come has been heard.
    pub(super) heard_at: Moment,
    /// When the last byte went, either way; at first, when the conversation began.
    pub(super) last_byte: Moment,
    /// When it was kept awake last.
    pub(super) kept_alive: Moment,
    /// What failed in the background, and nobody has heard of.
    pub(super) background: Option<LinkError>,
    pub(super) output: Output,
    pub(super) queue: Queue,
    pub(super) current: Option<Current>,
    /// Queries that are told apart by their ids; they share the line.
    pub(super) flights: Flights,
    /// What a function of the user's said of the last message.
    pub(super) known_id: Option<(Bytes, Bytes)>,
    /// What the instrument has yet to repeat.
    pub(super) echoes: VecDeque<Echo>,
    pub(super) controls: VecDeque<Doing>,
    pub(super) debt: Option<Debt>,
    /// The line is to be quiet before the next question, until this at the latest.
    pub(super) settling: Option<Moment>,
    pub(super) reads: VecDeque<Waiting>,
    pub(super) lent: VecDeque<Loan>,
    pub(super) unasked: Unasked,
    pub(super) polls: Polls,
    pub(super) counts: Counts,
    /// What others see of it.
    gauge: Arc<Gauge>,
    pub(super) discard: bool,
    /// The port is to be closed and opened again.
    pub(super) reopen: bool,
    /// Who may ask.
    pub(super) access: Access,
    /// The lifespan around the link ends: why nobody else may ask any more.
    pub(super) made_way: Option<MadeWay>,
    /// A reply that was owed has come, while the lifespan waits for its own: if that was the only one, it is that.
    pub(super) held: Option<Held>,
    /// The exchange that was open when the connection was lost.
    pub(super) lost_talk: Option<u64>,
    /// Rung by whoever works out what a message is.
    pub(super) ring: Waker,
}

/// Rings the actor up.
struct Ring(mpsc::UnboundedSender<Request>);

impl Wake for Ring {
    fn wake(self: Arc<Ring>) {
        // A session that has ended needs no waking.
        let _ = self.0.send(Request::Claimed);
    }
}

impl Conversation {
    /// A conversation in which nothing has been said. `myself` is the actor's own mailbox; the counts go on from those of `gauge`.
    pub fn new(
        rules: Rules,
        trace: Arc<Trace>,
        myself: mpsc::UnboundedSender<Request>,
        gauge: Arc<Gauge>,
        now: Moment,
    ) -> Conversation {
        let ring = Waker::from(Arc::new(Ring(myself.clone())));
        if let Some(framing) = &rules.framing {
            framing.attend(&ring);
        }
        if let Some(IdOf::Asked(inquiry)) = &rules.ids {
            inquiry.attend(&ring);
        }
        Conversation {
            rules,
            trace,
            myself,
            input: BytesMut::new(),
            stale: BytesMut::new(),
            last_heard: None,
            heard_at: now,
            last_byte: now,
            kept_alive: now,
            background: None,
            output: Output::default(),
            queue: Queue::default(),
            current: None,
            flights: Flights::default(),
            known_id: None,
            echoes: VecDeque::new(),
            controls: VecDeque::new(),
            debt: None,
            settling: None,
            reads: VecDeque::new(),
            lent: VecDeque::new(),
            unasked: Unasked::default(),
            polls: Polls::default(),
            counts: gauge.counts(),
            gauge,
            discard: false,
            reopen: false,
            access: Access::All,
            made_way: None,
            held: None,
            lost_talk: None,
            ring,
        }
    }

    /// Before anything is asked the line has to be quiet: what an earlier owner of the port was told may still be coming.
    pub fn settle_first(&mut self, now: Stamp) {
        self.last_heard = Some(now);
        self.settling = Some(now.moment + self.rules.drain);
    }

    /// A job's verdict.
    pub(super) fn give(&mut self, job: Job, verdict: Verdict, now: Moment) {
        // First, so that whoever is woken sees his own exchange counted and the link idle.
        self.show();
        match job.reply {
            Sink::Ticket(reply) => reply.give(verdict),
            Sink::Poll(id) => {
                let comes_back = self.rules.reconnect.is_some();
                self.polls.answered(id, verdict, now, comes_back);
            }
            Sink::KeepAlive => self.kept_alive(verdict),
        }
    }

    pub(super) fn confirm(&mut self, job: Job, effect: Effect, now: Moment, started: Option<Moment>) {
        let about = self.about(&job, started, now);
        if effect != Effect::NeverStarted {
            let at = self.at(now);
            self.trace.note(at, format!("cancelled, {}", effect.word()));
        }
        self.give(job, Err(LinkError::Cancelled { effect, about }), now);
    }

    /// The evidence in the case of `job`.
    pub(super) fn about(&self, job: &Job, started: Option<Moment>, now: Moment) -> Box<Evidence> {
        let command = match &job.what {
            What::Query(question) => Some(question.command.clone()),
            What::Send { command, .. } => Some(command.clone()),
            _ => None,
        };
        let heard = Bytes::copy_from_slice(&self.input);
        let elapsed = Some(now.since(started.unwrap_or(job.asked)));
        Box::new(self.evidence(command, elapsed, heard, now))
    }

    pub(super) fn evidence(
        &self,
        command: Option<Bytes>,
        elapsed: Option<Duration>,
        heard: Bytes,
        now: Moment,
    ) -> Evidence {
        let tail = if now == Moment::NEVER { Vec::new() } else { self.trace.tail(now) };
        Evidence { link: self.rules.name.clone(), port: self.rules.port.clone(), command, heard, elapsed, tail }
    }

    /// `now` on both scales, near enough for a note.
    pub(super) fn at(&self, now: Moment) -> Stamp {
        let known = self.counts.last.unwrap_or(Stamp { moment: now, epoch: Duration::ZERO });
        Stamp { moment: now, epoch: known.epoch + now.since(known.moment) }
    }

    /// Ends the conversation: every job and feed gets `error`, or where there is none ends as closed.
    pub fn end(&mut self, error: &dyn Fn(Box<Evidence>) -> LinkError, now: Stamp) {
        let mut jobs: Vec<(Job, Option<Moment>)> = self.queue.take_all().map(|job| (job, None)).collect();
        match self.current.take() {
            Some(Current::Query(asked)) => jobs.push((asked.job, asked.started)),
            Some(Current::Talk(talk)) => jobs.extend(talk.asks.into_iter().map(|waiting| (waiting.job, talk.started))),
            Some(Current::Abort(aborting)) => jobs.extend(aborting.job.map(|job| (job, aborting.started))),
            Some(Current::Resync { .. } | Current::Control) | None => {}
        }
        jobs.extend(self.flights.take_all().into_iter().map(|(asked, _)| (asked.job, asked.started)));
        jobs.extend(self.end_controls().into_iter().map(|job| (job, None)));
        for Frame { owner, .. } in self.output.clear() {
            if let Owner::Send(sending) = owner {
                jobs.push((sending.job, sending.started));
            }
        }
        let receives = std::mem::take(&mut self.unasked.receives);
        jobs.extend(std::mem::take(&mut self.reads).into_iter().chain(receives).map(|waiting| (waiting.job, None)));
        for loan in std::mem::take(&mut self.lent) {
            // A value whose asker has left has nowhere to go back to; one that is merely unclaimed is still good.
            loan.settle();
        }
        for (job, started) in jobs {
            let about = self.about(&job, started, now.moment);
            self.give(job, Err(error(about)), now.moment);
        }
        let about = Box::new(self.evidence(None, None, Bytes::new(), now.moment));
        self.unasked.end(|| error(about.clone()));
        self.polls.end(|| error(about.clone()));
    }

    /// How much unread input is taken from the kernel. Beyond it the kernel's flow control holds the instrument.
    pub fn most_unread(&self) -> usize {
        let asks = match &self.current {
            Some(Current::Talk(talk)) => talk.asks.front(),
            _ => self.reads.front(),
        };
        let for_ask = match asks.map(|waiting| &waiting.job.what) {
            Some(What::Read(Want::Exactly(n))) => *n,
            Some(What::Read(Want::Until(_)) | What::Receive { .. } | What::CatchUp) => usize::MAX,
            _ => 0,
        };
        let answered = matches!(self.current, Some(Current::Query(_) | Current::Resync { .. } | Current::Abort(_)))
            || !self.flights.is_empty();
        let owed = self.debt.as_ref().and_then(|debt| debt.owed.front());
        let is_owed = owed.is_some_and(|owed| !matches!(owed, Owed::Anything));
        let wanted = if answered || is_owed { usize::MAX } else { for_ask };
        // A framing has a longest message of its own.
        wanted.max(MOST_UNREAD)
    }

    /// Whether nobody is being answered, waits for a turn, or is owed something.
    pub fn is_idle(&self) -> bool {
        let asking = self.current.is_some()
            || !self.flights.is_empty()
            || !self.controls.is_empty()
            || !self.queue.is_empty()
            || !self.output.is_empty()
            || !self.reads.is_empty();
        !asking && self.debt.is_none() && !self.unasked.is_wanted() && self.polls.is_empty()
    }

    /// Shows others how things stand.
    pub fn show(&self) {
        self.gauge.busy.store(!self.is_idle(), Ordering::Relaxed);
        self.gauge.show(&self.counts);
    }

    /// How fast the instrument is spoken to.
    pub fn pacing(&self) -> Pacing {
        self.rules.pacing
    }

    /// Whether the port is to be opened anew.
    pub fn is_to_reopen(&self) -> bool {
        self.reopen
    }

    /// The same; asked once.
    pub fn take_reopen(&mut self) -> bool {
        std::mem::take(&mut self.reopen)
    }

    /// Whether the actor is to throw away what the kernel has read for us; asked once.
    pub fn take_discard(&mut self) -> bool {
        std::mem::take(&mut self.discard)
    }
}

impl Drop for Conversation {
    /// Where the actor's task was torn down, iterators must not wait for ever.
    fn drop(&mut self) {
        let why = if is_unwinding() { "an internal error ended it; please report it" } else { "it was stopped" };
        let about = Box::new(self.evidence(None, None, Bytes::new(), Moment::NEVER));
        let ended = || LinkError::Closed { about: about.clone(), why: why.to_owned() };
        self.unasked.end(ended);
        self.polls.end(ended);
    }
}
