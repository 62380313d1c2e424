//! Who may speak, who is answered, and what is owed: a link's conversation, without I/O and without a clock.
//!
//! The actor tells it what was asked, read and written, and what time it is; it says what to write next and when to be called again.
//! Who has the line is in `turns.rs`, what incoming bytes mean in `hearing.rs`, exchanges in `talk.rs`,
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
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use regex::bytes::Regex;
use tokio::sync::mpsc;

use super::job::{Ending, Job, Request, Sink, Want, What};
use super::loans::Loan;
use super::output::{Frame, Output, Owner};
use super::poll::Polls;
use super::queue::Queue;
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

/// What a link's owner decided for good.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The link's name.
    pub name: Arc<str>,
    /// The port in words.
    pub port: Arc<str>,
    /// How messages end; `None`: raw bytes.
    pub framing: Option<Framing>,
    /// How long past its deadline an owed reply is waited for.
    pub drain: Duration,
    /// How long the line has to be quiet after something unexpected.
    pub settle: Duration,
    /// How to get back in step at once.
    pub resync: Option<Resync>,
    /// The link's own time limit.
    pub limit: Duration,
}

/// A command with a known answer.
#[derive(Clone, Debug)]
pub struct Resync {
    /// As given.
    pub command: Bytes,
    /// As written.
    pub frame: Bytes,
    /// What its answer looks like.
    pub answer: Regex,
}

/// What is owed after an asker has left.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    /// One message.
    Message(Framing),
    /// Messages up to and including one that matches.
    Match(Framing, Regex),
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
    pub(super) output: Output,
    pub(super) queue: Queue,
    pub(super) current: Option<Current>,
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
}

impl Conversation {
    /// A conversation in which nothing has been said. `myself` is the actor's own mailbox; the counts go on from those of `gauge`.
    pub fn new(
        rules: Rules,
        trace: Arc<Trace>,
        myself: mpsc::UnboundedSender<Request>,
        gauge: Arc<Gauge>,
    ) -> Conversation {
        Conversation {
            rules,
            trace,
            myself,
            input: BytesMut::new(),
            stale: BytesMut::new(),
            last_heard: None,
            output: Output::default(),
            queue: Queue::default(),
            current: None,
            debt: None,
            settling: None,
            reads: VecDeque::new(),
            lent: VecDeque::new(),
            unasked: Unasked::default(),
            polls: Polls::default(),
            counts: gauge.counts(),
            gauge,
            discard: false,
        }
    }

    /// Before anything is asked the line has to be quiet: what an earlier owner of the port was told may still be coming.
    pub fn settle_first(&mut self, now: Stamp) {
        self.last_heard = Some(now);
        self.settling = Some(now.moment + self.rules.drain);
    }

    /// A letter from the outside. `Close` is the actor's own affair and does nothing here.
    pub fn request(&mut self, request: Request, now: Stamp) {
        self.take_note(request, now);
        self.hear(now);
    }

    /// The same, for when bytes have come that are not in `input` as far as anyone has been told: they are heard after it.
    pub fn take_note(&mut self, request: Request, now: Stamp) {
        match request {
            Request::Do(job) => self.take_in(job, now),
            Request::Cancel(id) => self.cancel(id, now),
            Request::Claimed => {}
            Request::EndTalk { talk, ending } => self.end_talk(talk, ending, now),
            Request::Subscribe { id, pattern, feed } => self.unasked.subscribe(id, pattern, feed),
            Request::GiveBack(bodies) => {
                for body in bodies.into_iter().rev() {
                    self.unasked.put_back(Heard { body, at: now });
                }
            }
            Request::Poll(poll) => self.polls.add(poll, now.moment),
            Request::Unsubscribe(id) => {
                self.unasked.unsubscribe(id);
                self.end_poll(id);
            }
            Request::Close(_) => {}
        }
    }

    fn take_in(&mut self, job: Job, now: Stamp) {
        if let Some(talk) = job.talk {
            return self.talk_job(talk, job, now);
        }
        match &job.what {
            What::Send { urgent: true, .. } => self.send(job, now),
            What::Read(_) => self.reads.push_back(Waiting::new(job, None)),
            What::Receive { .. } => {
                let deadline = Some(job.asked + job.limit);
                self.unasked.receives.push_back(Waiting::new(job, deadline));
            }
            _ => self.queue.push(job),
        }
    }

    /// The asker of `id` has left.
    fn cancel(&mut self, id: u64, now: Stamp) {
        if let Some(job) = self.queue.remove(id) {
            self.confirm(job, Effect::NeverStarted, now.moment, None);
        } else if matches!(&self.current, Some(Current::Query(asked)) if asked.job.id == id) {
            self.leave_query(|conversation, asked, effect| {
                conversation.confirm(asked.job, effect, now.moment, asked.started);
            });
        } else if matches!(&self.current, Some(Current::Talk(talk)) if talk.id == id) {
            self.end_talk(id, Ending::Cancelled, now);
        } else if let Some((owner, begun)) = self.output.withdraw(id) {
            if let Owner::Send(sending) = owner {
                let effect = self.left_partway(&sending, begun);
                self.confirm(sending.job, effect, now.moment, sending.started);
            }
        } else if let Some(index) = self.reads.iter().position(|waiting| waiting.job.id == id) {
            if let Some(waiting) = self.reads.remove(index) {
                self.confirm(waiting.job, Effect::NeverStarted, now.moment, None);
            }
        } else if let Some(waiting) = self.unasked.withdraw(id) {
            self.confirm(waiting.job, Effect::NeverStarted, now.moment, None);
        } else if let Some(waiting) = self.withdraw_from_talk(id) {
            self.confirm(waiting.job, Effect::Unconfirmed, now.moment, None);
        } else {
            self.take_back(id, now);
        }
    }

    /// A job's verdict.
    pub(super) fn give(&mut self, job: Job, verdict: Verdict, now: Moment) {
        // First, so that whoever is woken sees his own exchange counted and the link idle.
        self.show();
        match job.reply {
            Sink::Ticket(reply) => reply.give(verdict),
            Sink::Poll(id) => self.polls.answered(id, verdict, now),
        }
    }

    fn confirm(&mut self, job: Job, effect: Effect, now: Moment, started: Option<Moment>) {
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
            What::Query { command, .. } | What::Send { command, .. } => Some(command.clone()),
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
            Some(Current::Resync { .. }) | None => {}
        }
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
        let answered = matches!(self.current, Some(Current::Query(_) | Current::Resync { .. }));
        let owed = self.debt.as_ref().and_then(|debt| debt.owed.front());
        let is_owed = owed.is_some_and(|owed| !matches!(owed, Owed::Anything));
        let wanted = if answered || is_owed { usize::MAX } else { for_ask };
        // A framing has a longest message of its own.
        wanted.max(MOST_UNREAD)
    }

    /// Whether nobody is being answered, waits for a turn, or is owed something.
    pub fn is_idle(&self) -> bool {
        let asking =
            self.current.is_some() || !self.queue.is_empty() || !self.output.is_empty() || !self.reads.is_empty();
        !asking && self.debt.is_none() && !self.unasked.is_wanted() && self.polls.is_empty()
    }

    /// Shows others how things stand.
    pub fn show(&self) {
        self.gauge.busy.store(!self.is_idle(), Ordering::Relaxed);
        self.gauge.show(&self.counts);
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
