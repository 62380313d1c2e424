//! Turn-taking: who has the line next, and what is owed first.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::aborting::{Aborting, Told};
use super::conversation::{Asked, Conversation, Current, Debt, Owed};
use super::job::{Job, Poll, Sink, What};
use super::output::{Frame, Owner, Sending};
use super::rules::Resync;
use super::talk::Talk;
use super::ticket::{Answer, next_id};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError, Shown};

/// Even who waits for no time at all has his first byte written, if the line takes it.
const TO_BE_WRITTEN: Duration = Duration::from_millis(20);

impl Conversation {
    /// The job that may begin now. The actor reads once more before it begins it: what has come until then is not its reply.
    pub fn next_turn(&mut self, now: Stamp) -> Option<u64> {
        if !self.is_open_to_all() {
            return self.first_of_all(now.moment);
        }
        while let Some(poll) = self.polls.take_due(now.moment) {
            let job = question(poll, now.moment);
            self.queue.push(job);
        }
        self.keep_alive(now);
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
            return free.or_else(|| {
                let asks = if resync { self.queue.front() } else { self.first_that_parks() };
                asks.map(|job| job.id)
            });
        }
        if !self.flights.is_empty() {
            // They share the line among themselves; whoever wants it whole comes after them, and before those who asked later.
            return self.next_to_fly();
        }
        if self.quiet_at(now.moment) > now.moment {
            return self.queue.iter().find(|job| !expects_reply(job)).map(|job| job.id);
        }
        if self.rules.ids.is_some() { self.next_to_fly() } else { self.queue.front().map(|job| job.id) }
    }

    pub(super) fn next_to_fly(&self) -> Option<u64> {
        for job in self.queue.iter() {
            match &job.what {
                What::Query(question) if question.id.is_some() => {
                    if !self.must_wait(question) {
                        return Some(job.id);
                    }
                }
                _ if expects_reply(job) => return self.flights.is_empty().then_some(job.id),
                _ => return Some(job.id),
            }
        }
        None
    }

    /// When a command may be written at the earliest: a slow instrument wants a pause.
    pub(super) fn earliest(&self, now: Moment) -> Moment {
        if self.rules.pacing.gap.is_zero() { now } else { now.max(self.last_byte + self.rules.pacing.gap) }
    }

    /// When something that may take `limit` has waited for its first byte for too long, if the line does not move.
    pub(super) fn begun_by(&self, limit: Duration, now: Moment) -> Moment {
        self.earliest(now) + self.rules.pacing.char_delay + limit.max(TO_BE_WRITTEN)
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
            match resync {
                Resync::Command { frame, .. } => {
                    self.output.push(Frame::new(frame, Owner::Resync));
                    let deadline = now.moment + self.rules.limit;
                    self.current = Some(Current::Resync { since: now.moment, deadline, written: false });
                }
                Resync::Break(hold) => self.reset_by_break(hold, now),
                Resync::Reopen => self.reopen = true,
            }
            return;
        }
        let Some(job) = self.queue.remove(id) else { return };
        // Half a message is the beginning of somebody's reply, where others are in flight.
        // So it is where a lifespan asks although others are owed one.
        if expects_reply(&job) && self.flights.is_empty() && self.debt.is_none() {
            self.set_aside(now);
        }
        self.owe_only_what_can_be_counted();
        match &job.what {
            What::Query(question) => {
                question.framing.attend(&self.ring);
                if let (Some(id), true) = (question.id.clone(), self.rules.ids.is_some()) {
                    return self.take_off(job, id, now);
                }
                self.output.push(Frame::new(question.frame.clone(), Owner::Query(job.id)).saying(&question.command));
                let deadline = self.begun_by(job.limit, now.moment);
                let asked = Asked { job, since: now.moment, started: None, written: false, deadline };
                self.current = Some(Current::Query(Box::new(asked)));
            }
            What::Talk { place, abort } => {
                let talk = Talk::new(&job, now.moment, place.clone(), abort.clone());
                self.current = Some(Current::Talk(Box::new(talk)));
                let id = job.id;
                self.give(job, Ok(Answer::Number(id)), now.moment);
            }
            What::Discard => {
                self.discard(now);
                self.give(job, Ok(Answer::Nothing), now.moment);
            }
            What::Control(task) => {
                if task.wants_line() {
                    self.current = Some(Current::Control);
                }
                self.control(job, now);
            }
            What::Send { .. } | What::Read(_) | What::Receive { .. } | What::CatchUp | What::Leave(_) => {
                self.send(job, now);
            }
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
        let What::Send { frame, urgent, command, raw } = &job.what else { return };
        let (frame, urgent, command) = (frame.clone(), *urgent, (!raw).then(|| command.clone()));
        let deadline = self.begun_by(job.limit, now.moment);
        let sending = Owner::Send(Box::new(Sending { job, deadline, started: None }));
        let frame = Frame::new(frame, sending);
        let frame = command.iter().fold(frame, Frame::saying);
        if urgent {
            self.output.push_urgent(frame, now.moment);
        } else {
            self.output.push(frame);
        }
    }

    /// The query that has the line is left by its asker: what it is owed becomes the link's debt. `tell` gives the verdict.
    pub(super) fn leave_query(&mut self, tell: impl FnOnce(&mut Conversation, Asked, Effect)) {
        let Some(Current::Query(asked)) = self.current.take() else { return };
        let What::Query(question) = &asked.job.what else { return };
        let (owed_reply, command) = (Owed::reply_to(question), question.command.clone());
        let effect = match self.output.withdraw(asked.job.id) {
            Some((_, false)) => Effect::NeverStarted,
            begun => {
                let until = asked.deadline + self.rules.drain;
                self.owe_echoes();
                let owed = VecDeque::from([owed_reply]);
                let unwritten = begun.is_some();
                self.owe(Debt { owed, command: Some(command), until, at_most: until, unwritten });
                Effect::Unconfirmed
            }
        };
        tell(self, *asked, effect);
        self.restore_stale();
    }

    /// The asker of the query that has the line has left.
    pub(super) fn query_cancelled(&mut self, now: Stamp) {
        let Some(Current::Query(asked)) = &self.current else { return };
        let What::Query(question) = &asked.job.what else { return };
        let begun = asked.started.is_some();
        if begun && question.abort.is_some() {
            self.abort_query(Told::Cancelled, now);
        } else if !(begun && question.finish) {
            self.leave_query(|conversation, asked, effect| {
                conversation.confirm(asked.job, effect, now.moment, asked.started);
            });
        }
    }

    /// The query that has the line, and was begun, is stopped by its abort.
    pub(super) fn abort_query(&mut self, told: Told, now: Stamp) {
        let Some(Current::Query(asked)) = self.current.take_if(|current| matches!(current, Current::Query(_))) else {
            return;
        };
        // What is left of its frame goes out whole, as nobody's.
        drop(self.output.withdraw(asked.job.id));
        let What::Query(question) = &asked.job.what else { return };
        let Some(abort) = question.abort.clone() else { return };
        let mut owed = self.take_owed_to_others();
        owed.push_back(Owed::reply_to(question));
        self.begin_abort(Aborting::of_query(*asked, abort, owed, told), now);
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
            Some(Owner::Query(id)) if self.flights.get_mut(id).is_some() => {
                // Its id tells a reply to what was left of it from every other; it ends by its deadline.
            }
            Some(Owner::Query(_)) => {
                if let Some(Current::Query(asked)) = self.current.take() {
                    let about = self.about(&asked.job, asked.started, now.moment);
                    let why = "its command was cut by an urgent message (unconfirmed)".to_owned();
                    self.give(asked.job, Err(LinkError::Busy { about, why, lifespan: 0 }), now.moment);
                    self.owe_anything(self.rules.drain, now.moment);
                }
            }
            Some(Owner::Send(sending)) => {
                let about = self.about(&sending.job, sending.started, now.moment);
                let why = "its message was cut by an urgent one (unconfirmed)".to_owned();
                self.give(sending.job, Err(LinkError::Busy { about, why, lifespan: 0 }), now.moment);
            }
            // What was left of it is gone, and so may its answer be.
            Some(Owner::Nobody) if self.debt.as_ref().is_some_and(|debt| debt.unwritten) => {
                self.debt = None;
                self.owe_anything(self.rules.drain, now.moment);
            }
            Some(Owner::Resync | Owner::Abort | Owner::Nobody) | None => {}
        }
        true
    }

    /// Something may still be coming that is nobody's answer. It is waited for for `span`, and then dropped until the line is quiet; all
    /// that no longer than a drain.
    pub(super) fn owe_anything(&mut self, span: Duration, now: Moment) {
        let owed = VecDeque::from([Owed::Anything]);
        let (until, at_most) = (now + span, now + span.max(self.rules.drain));
        self.owe(Debt { owed, command: None, until, at_most, unwritten: self.output.has_orphan() });
    }

    /// Something more is owed, behind what is.
    pub(super) fn owe(&mut self, more: Debt) {
        let Some(debt) = &mut self.debt else {
            self.debt = Some(more);
            return;
        };
        debt.owed.extend(more.owed);
        debt.command = more.command.or(debt.command.take());
        debt.until = debt.until.max(more.until);
        debt.at_most = debt.at_most.max(more.at_most);
        debt.unwritten |= more.unwritten;
    }

    /// The answer to something that was sent.
    pub(super) fn an_answer(&self) -> Owed {
        self.rules.framing.clone().map_or(Owed::Anything, Owed::message)
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
    match &job.what {
        What::Query(_) | What::Talk { .. } => true,
        What::Control(task) => task.wants_line(),
        _ => false,
    }
}

fn question(poll: &Poll, now: Moment) -> Job {
    Job {
        id: next_id(),
        talk: None,
        what: What::Query(Box::new(poll.question.clone())),
        limit: poll.limit,
        turn: poll.turn,
        asked: now,
        asker: poll.asker,
        reply: Sink::Poll(poll.id),
    }
}

/// An empty buffer, for taking what is in another.
pub(super) fn taken(buffer: &mut BytesMut) -> Bytes {
    std::mem::take(buffer).freeze()
}
