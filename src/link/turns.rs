//! Turn-taking: who has the line next, and what is owed first.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::conversation::{Asked, Conversation, Current, Debt, Owed};
use super::job::{Job, Poll, Sink, What};
use super::output::{Frame, Owner, Sending};
use super::talk::Talk;
use super::ticket::{Answer, next_id};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError, Shown};

/// Even who waits for no time at all has his first byte written, if the line takes it.
const TO_BE_WRITTEN: Duration = Duration::from_millis(20);

impl Conversation {
    /// The job that may begin now. The actor reads once more before it begins it: what has come until then is not its reply.
    pub fn next_turn(&mut self, now: Stamp) -> Option<u64> {
        while let Some(poll) = self.polls.take_due(now.moment) {
            let job = question(poll, now.moment);
            self.queue.push(job);
        }
        if self.queue.is_empty() {
            return None;
        }
        if matches!(self.current, Some(Current::Resync { .. })) {
            return self.queue.iter().find(|job| !expects_reply(job)).map(|job| job.id);
        }
        if self.current.is_some() {
            return None;
        }
        if self.debt.is_some() {
            // Something that expects no answer need not wait for an answer.
            let free = self.queue.iter().find(|job| !expects_reply(job)).map(|job| job.id);
            let brief = now.moment + self.rules.settle;
            let resync = self.rules.resync.is_some()
                && self.debt.as_ref().is_some_and(|debt| !debt.unwritten && debt.until > brief);
            return free.or_else(|| if resync { self.queue.front().map(|job| job.id) } else { None });
        }
        if self.quiet_at(now.moment) > now.moment {
            return self.queue.iter().find(|job| !expects_reply(job)).map(|job| job.id);
        }
        self.queue.front().map(|job| job.id)
    }

    /// When the line has been quiet for long enough to ask.
    pub(super) fn quiet_at(&mut self, now: Moment) -> Moment {
        // Half a message is not the beginning of a reply to something that was not asked yet.
        let half_heard = self.rules.framing.is_some() && !self.input.is_empty();
        if half_heard {
            self.settling.get_or_insert(now + self.rules.drain);
        }
        match (self.settling, self.last_heard) {
            (Some(bound), Some(last)) => (last.moment + self.rules.settle).min(bound),
            _ => now,
        }
    }

    /// Gives job `id` the line.
    pub fn begin(&mut self, id: u64, now: Stamp) {
        if let (Some(debt), Some(resync)) = (&self.debt, self.rules.resync.clone())
            && self.queue.get(id).is_some_and(expects_reply)
        {
            let what = format!(
                "resynchronising: {} is owed",
                debt.command.as_deref().map_or(String::new(), |c| Shown(c).to_string())
            );
            self.trace.note(now, what);
            self.output.push(Frame::new(resync.frame, Owner::Resync));
            let deadline = now.moment + self.rules.limit;
            self.current = Some(Current::Resync { since: now.moment, deadline, written: false });
            return;
        }
        let Some(job) = self.queue.remove(id) else { return };
        if expects_reply(&job) {
            self.set_aside(now);
        }
        match &job.what {
            What::Query { frame, .. } => {
                self.output.push(Frame::new(frame.clone(), Owner::Query(job.id)));
                let deadline = now.moment + job.limit.max(TO_BE_WRITTEN);
                let asked = Asked { job, since: now.moment, started: None, written: false, deadline };
                self.current = Some(Current::Query(Box::new(asked)));
            }
            What::Talk { place } => {
                let talk = Talk::new(job.id, now.moment, job.limit, place.clone());
                self.current = Some(Current::Talk(Box::new(talk)));
                let id = job.id;
                self.give(job, Ok(Answer::Number(id)), now.moment);
            }
            What::Discard => {
                self.discard(now);
                self.give(job, Ok(Answer::Nothing), now.moment);
            }
            What::Send { .. } | What::Read(_) | What::Receive { .. } | What::CatchUp => self.send(job, now),
        }
    }

    /// What was there before the question is not its answer: messages are unasked, half ones too; raw bytes wait for the next read.
    fn set_aside(&mut self, now: Stamp) {
        self.settling = None;
        if self.input.is_empty() {
            return;
        }
        if self.rules.framing.is_some() {
            let stray = std::mem::take(&mut self.input).freeze();
            self.trace.note(now, format!("a message without an end: {}", Shown(&stray)));
            self.deliver_unasked(stray, now);
        } else {
            let input = std::mem::take(&mut self.input);
            self.stale.unsplit(input);
        }
    }

    fn discard(&mut self, now: Stamp) {
        let bytes = self.input.len() + self.stale.len();
        let messages = self.unasked.forget();
        self.input.clear();
        self.stale.clear();
        self.discard = true;
        self.trace.note(now, format!("discarded {bytes} bytes and {messages} messages"));
    }

    /// Puts a frame on its way that nobody waits to be answered.
    pub(super) fn send(&mut self, job: Job, now: Stamp) {
        let What::Send { frame, urgent, .. } = &job.what else { return };
        let (frame, urgent) = (frame.clone(), *urgent);
        let deadline = now.moment + job.limit.max(TO_BE_WRITTEN);
        let sending = Owner::Send(Box::new(Sending { job, deadline, started: None }));
        if urgent {
            self.output.push_urgent(Frame::new(frame, sending), now.moment);
        } else {
            self.output.push(Frame::new(frame, sending));
        }
    }

    /// What to write now.
    pub fn to_write(&self) -> Option<Bytes> {
        self.output.front().map(|frame| frame.rest.clone())
    }

    /// The first `n` bytes of what was to be written went.
    pub fn wrote(&mut self, n: usize, now: Stamp) {
        self.counts.written += u64::try_from(n).unwrap_or(0);
        self.counts.last = Some(now);
        if let Some(frame) = self.output.front_mut() {
            self.trace.wire(now, super::trace::Direction::Out, frame.rest.slice(..n.min(frame.rest.len())));
            if !frame.is_begun() {
                match &mut frame.owner {
                    Owner::Send(sending) => {
                        sending.started = Some(now.moment);
                        sending.deadline = now.moment + sending.job.limit;
                    }
                    Owner::Query(_) => {
                        if let Some(Current::Query(asked)) = &mut self.current {
                            asked.started = Some(now.moment);
                            asked.deadline = now.moment + asked.job.limit;
                        }
                    }
                    Owner::Resync | Owner::Nobody => {}
                }
            }
        }
        match self.output.wrote(n).map(|frame| frame.owner) {
            Some(Owner::Send(sending)) => self.sent(sending.job, sending.started, now),
            Some(Owner::Query(_)) => {
                if let Some(Current::Query(asked)) = &mut self.current {
                    asked.written = true;
                }
            }
            Some(Owner::Resync) => {
                if let Some(Current::Resync { written, .. }) = &mut self.current {
                    *written = true;
                }
            }
            Some(Owner::Nobody) => {
                if let Some(debt) = &mut self.debt
                    && debt.unwritten
                {
                    debt.unwritten = false;
                    debt.until = debt.until.max(now.moment + self.rules.drain);
                }
            }
            None => {}
        }
    }

    fn sent(&mut self, job: Job, started: Option<Moment>, now: Stamp) {
        let owed = self.an_answer();
        if let (Some(id), Some(Current::Talk(talk)), What::Send { command, .. }) =
            (job.talk, &mut self.current, &job.what)
            && talk.id == id
        {
            talk.sent(command.clone(), owed, started.unwrap_or(now.moment));
        }
        self.give(job, Ok(Answer::Nothing), now.moment);
    }

    /// The query that has the line is left by its asker: what it is owed becomes the link's debt. `tell` gives the verdict.
    pub(super) fn leave_query(&mut self, tell: impl FnOnce(&mut Conversation, Asked, Effect)) {
        let Some(Current::Query(asked)) = self.current.take() else { return };
        let What::Query { framing, command, .. } = &asked.job.what else { return };
        let effect = match self.output.withdraw(asked.job.id) {
            Some((_, false)) => Effect::NeverStarted,
            begun => {
                let until = asked.deadline + self.rules.drain;
                let owed = VecDeque::from([Owed::Message(framing.clone())]);
                self.debt = Some(Debt { owed, command: Some(command.clone()), until, unwritten: begun.is_some() });
                Effect::Unconfirmed
            }
        };
        tell(self, *asked, effect);
        self.restore_stale();
    }

    /// The line is nobody's: raw bytes from before the exchange can be read again.
    pub(super) fn restore_stale(&mut self) {
        if !self.stale.is_empty() && self.current.is_none() && self.debt.is_none() {
            let newer = std::mem::replace(&mut self.input, std::mem::take(&mut self.stale));
            self.input.unsplit(newer);
        }
    }

    /// An urgent frame has waited for the line long enough. Returns whether the kernel's queue is to be discarded.
    pub fn cut(&mut self, now: Stamp) -> bool {
        if self.output.cut_at() > now.moment {
            return false;
        }
        let cut = self.output.cut(now.moment);
        if cut.is_some() {
            self.trace.note(now, "queued output discarded for an urgent message");
        }
        match cut.map(|frame| frame.owner) {
            Some(Owner::Query(_)) => {
                if let Some(Current::Query(asked)) = self.current.take() {
                    let about = self.about(&asked.job, asked.started, now.moment);
                    let why = "its command was cut by an urgent message (unconfirmed)".to_owned();
                    self.give(asked.job, Err(LinkError::Busy { about, why }), now.moment);
                    self.owe_anything(now.moment + self.rules.drain);
                }
            }
            Some(Owner::Send(sending)) => {
                let about = self.about(&sending.job, sending.started, now.moment);
                let why = "its message was cut by an urgent one (unconfirmed)".to_owned();
                self.give(sending.job, Err(LinkError::Busy { about, why }), now.moment);
            }
            // What was left of it is gone, and so may its answer be.
            Some(Owner::Nobody) if self.debt.as_ref().is_some_and(|debt| debt.unwritten) => {
                self.owe_anything(now.moment + self.rules.drain);
            }
            Some(Owner::Resync | Owner::Nobody) | None => {}
        }
        true
    }

    /// Something may still be coming that is nobody's answer: it is dropped, until the line is quiet, or `until`.
    pub(super) fn owe_anything(&mut self, until: Moment) {
        let owed = VecDeque::from([Owed::Anything]);
        self.debt = Some(Debt { owed, command: None, until, unwritten: self.output.has_orphan() });
    }

    /// The answer to something that was sent.
    pub(super) fn an_answer(&self) -> Owed {
        self.rules.framing.clone().map_or(Owed::Anything, Owed::Message)
    }

    /// A poll's reader has gone; a question of it that is still in flight is left.
    pub(super) fn end_poll(&mut self, id: u64) {
        if !self.polls.remove(id) {
            return;
        }
        let of_poll = |job: &Job| matches!(job.reply, Sink::Poll(poll) if poll == id);
        self.queue.discard(of_poll);
        if matches!(&self.current, Some(Current::Query(asked)) if of_poll(&asked.job)) {
            self.leave_query(|_, _, _| {});
        }
    }
}

/// Whether a job has the line until it was answered.
pub(super) fn expects_reply(job: &Job) -> bool {
    matches!(job.what, What::Query { .. } | What::Talk { .. })
}

fn question(poll: &Poll, now: Moment) -> Job {
    Job {
        id: next_id(),
        talk: None,
        what: What::Query { command: poll.command.clone(), frame: poll.frame.clone(), framing: poll.framing.clone() },
        limit: poll.limit,
        turn: poll.turn,
        asked: now,
        reply: Sink::Poll(poll.id),
    }
}

/// An empty buffer, for taking what is in another.
pub(super) fn taken(buffer: &mut BytesMut) -> Bytes {
    std::mem::take(buffer).freeze()
}
