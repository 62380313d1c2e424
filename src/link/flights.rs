//! Several queries in flight at once, told apart by an id that command and reply share.
//!
//! # Invariants
//! 1. An id is up once: until its reply has come, or its asker has left, it was written, and its deadline and a drain have passed.
//! 2. A reply whose asker has left is dropped, whatever else is in flight, and never waited for by others: there is no debt.

use bytes::Bytes;

use super::aborting::Told;
use super::conversation::{Asked, Conversation};
use super::job::{Job, What};
use super::output::{Frame, Owner};
use super::question::{Abort, Question};
use super::ticket::{Answer, Heard};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError, Shown};

#[derive(Debug, Default)]
pub(super) struct Flights {
    up: Vec<Flight>,
    /// Left by their askers, and until when their replies may come.
    left: Vec<(Bytes, Moment)>,
}

#[derive(Debug)]
struct Flight {
    id: Bytes,
    asked: Asked,
    /// Its asker has left, or its time is up: the abort's answer, or the reply, is awaited.
    leaving: Option<(Told, Abort)>,
}

impl Flight {
    /// Whether its reply may come. Of one that is left the rest of the frame goes out as nobody's.
    fn has_gone(&self) -> bool {
        self.asked.written || self.leaving.is_some()
    }
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// Whether a reply with this id is still to come.
    pub(super) fn is_awaited(&self, id: &Bytes) -> bool {
        self.is_up(id) || self.left.iter().any(|(left, _)| left == id)
    }

    pub(super) fn is_up(&self, id: &Bytes) -> bool {
        self.up.iter().any(|flight| flight.id == id)
    }

    /// `stuck`: a frame whose asker has left is still on its way out; what was left waits for that.
    pub(super) fn next_deadline(&self, stuck: bool) -> Moment {
        let up = self.up.iter().map(|flight| flight.asked.deadline);
        let left = self.left.iter().map(|(_, until)| *until).filter(|_| !stuck);
        up.chain(left).min().unwrap_or(Moment::NEVER)
    }

    /// A frame whose asker has left has gone out: its reply may come until `until`.
    pub(super) fn expect_late(&mut self, until: Moment) {
        for (_, ends) in &mut self.left {
            *ends = until.max(*ends);
        }
    }

    pub(super) fn get_mut(&mut self, job: u64) -> Option<&mut Asked> {
        self.up.iter_mut().map(|flight| &mut flight.asked).find(|asked| asked.job.id == job)
    }

    fn take(&mut self, is_it: impl Fn(&Flight) -> bool) -> Option<Flight> {
        let index = self.up.iter().position(is_it)?;
        Some(self.up.remove(index))
    }

    /// Those of which nothing was written yet.
    pub(super) fn not_begun(&mut self) -> impl Iterator<Item = &mut Asked> {
        self.up.iter_mut().map(|flight| &mut flight.asked).filter(|asked| asked.started.is_none())
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&Asked> {
        self.up.first().map(|flight| &flight.asked)
    }

    /// The aborts of those that were begun.
    pub(super) fn aborts(&self) -> Vec<&Abort> {
        let up = self.up.iter().filter(|flight| flight.leaving.is_none() && flight.asked.started.is_some());
        up.filter_map(|flight| flight.asked.job.abort()).collect()
    }

    /// The next that is up and not on its way down, and that `is_it` says.
    fn take_up(&mut self, is_it: impl Fn(&Job) -> bool) -> Option<Flight> {
        self.take(|flight| flight.leaving.is_none() && is_it(&flight.asked.job))
    }

    /// And whether each was being aborted.
    pub(super) fn take_all(&mut self) -> Vec<(Asked, bool)> {
        self.left.clear();
        std::mem::take(&mut self.up).into_iter().map(|flight| (flight.asked, flight.leaving.is_some())).collect()
    }
}

impl Conversation {
    /// Whether `question` may not be asked yet, because a reply with its id is still to come.
    pub(super) fn must_wait(&self, question: &Question) -> bool {
        question.id.as_ref().is_some_and(|id| self.flights.is_awaited(id))
    }

    /// An id twice among what is asked is its asker's mistake.
    pub(super) fn is_asked_already(&self, question: &Question) -> bool {
        let Some(id) = &question.id else { return false };
        let waits = |job: &Job| matches!(&job.what, What::Query(other) if other.id.as_ref() == Some(id));
        self.flights.is_up(id) || self.queue.iter().any(waits)
    }

    pub(super) fn take_off(&mut self, job: Job, id: Bytes, now: Stamp) {
        let What::Query(question) = &job.what else { return };
        self.output.push(Frame::new(question.frame.clone(), Owner::Query(job.id)).saying(&question.command));
        let deadline = self.begun_by(job.limit, now.moment);
        let asked = Asked { job, since: now.moment, started: None, written: false, deadline };
        self.flights.up.push(Flight { id, asked, leaving: None });
    }

    /// A message, while queries are told apart by id and nobody has the line to himself.
    pub(super) fn hear_by_id(&mut self, at: Stamp) -> bool {
        let Some(framing) = self.rules.framing.clone() else { return false };
        let message = match self.cut_message(&framing, at) {
            Ok(None) => return false,
            Ok(Some(message)) => message,
            Err(error) => {
                self.trace.note(at, format!("unreadable: {error}"));
                // With one in flight it is known whose reply it is; or it was something else, and the reply is still to come.
                if self.flights.up.len() == 1
                    && let Some(flight) = self.flights.take(|flight| flight.asked.written && flight.leaving.is_none())
                {
                    let about = self.about(&flight.asked.job, flight.asked.started, at.moment);
                    self.flights.left.push((flight.id, at.moment + self.rules.drain));
                    let error = LinkError::Frame { about, why: error.to_string(), cause: error.cause() };
                    self.give(flight.asked.job, Err(error), at.moment);
                }
                return true;
            }
        };
        if self.is_elsewhere(&message.body, at) {
            return true;
        }
        let body = message.body;
        let stops = |flight: &Flight| matches!(&flight.leaving, Some((_, abort)) if abort.reply.as_ref().is_some_and(|reply| reply.is_match(&body)));
        if let Some(flight) = self.flights.take(stops) {
            self.landed(flight, Effect::Halted, at.moment, true);
            return true;
        }
        match self.id_of(&body).and_then(|id| self.flights.take(|flight| flight.has_gone() && flight.id == id)) {
            Some(flight) if flight.leaving.is_some() => {
                let said_no = self.rules.error.as_ref().is_some_and(|error| error.is_match(&body));
                self.drop_late(body, at);
                self.landed(flight, if said_no { Effect::Halted } else { Effect::RanToCompletion }, at.moment, false);
            }
            Some(flight) => self.answer(flight.asked, Heard { body, at }),
            None => self.deliver_unasked(body, at),
        }
        true
    }

    /// Whether `body` is nobody's reply: unsolicited, or the late reply to a query that was left.
    pub(super) fn is_elsewhere(&mut self, body: &Bytes, at: Stamp) -> bool {
        if self.is_unsolicited(body) {
            self.deliver_unasked(body.clone(), at);
            return true;
        }
        if self.flights.left.is_empty() {
            return false;
        }
        let Some(id) = self.id_of(body) else { return false };
        let Some(index) = self.flights.left.iter().position(|(left, _)| *left == id) else { return false };
        self.flights.left.remove(index);
        self.drop_late(body.clone(), at);
        true
    }

    /// One that was being aborted is over. `owed`: its own reply may still come.
    fn landed(&mut self, flight: Flight, effect: Effect, now: Moment, owed: bool) {
        if owed {
            self.flights.left.push((flight.id, now + self.rules.drain));
        }
        let asked = flight.asked;
        match flight.leaving.map(|(told, _)| told) {
            Some(Told::Error(error)) => self.give(asked.job, Err(error.with_effect(effect)), now),
            _ => self.confirm(asked.job, effect, now, asked.started),
        }
    }

    /// The asker of `job` leaves. Returns whether it was in flight.
    pub(super) fn leave_flight(&mut self, job: u64, now: Stamp) -> bool {
        let Some(flight) = self.flights.take(|flight| flight.asked.job.id == job) else { return false };
        let waits = matches!(&flight.asked.job.what, What::Query(question) if question.finish);
        if flight.leaving.is_some() || (waits && flight.asked.started.is_some()) {
            self.flights.up.push(flight);
            return true;
        }
        self.descend(flight, now, None);
        true
    }

    fn descend(&mut self, flight: Flight, now: Stamp, error: Option<LinkError>) {
        let Flight { id, mut asked, .. } = flight;
        let begun = !matches!(self.output.withdraw(asked.job.id), Some((_, false)));
        let abort = match &asked.job.what {
            What::Query(question) if begun => question.abort.clone(),
            _ => None,
        };
        if let Some(abort) = abort {
            self.trace.note(now, format!("aborting with {}", Shown(&abort.command)));
            self.output.push_urgent(Frame::new(abort.frame.clone(), Owner::Nobody).saying(&abort.command), now.moment);
            asked.deadline = now.moment + abort.limit;
            let told = error.map_or(Told::Cancelled, Told::Error);
            self.flights.up.push(Flight { id, asked, leaving: Some((told, abort)) });
            return;
        }
        let effect = if begun { Effect::Unconfirmed } else { Effect::NeverStarted };
        if begun {
            self.flights.left.push((id, asked.deadline.max(now.moment) + self.rules.drain));
        }
        match error {
            Some(error) => self.give(asked.job, Err(error.with_effect(effect)), now.moment),
            None => self.confirm(asked.job, effect, now.moment, asked.started),
        }
    }

    /// Brings down those that `is_it` says; their askers get `error`.
    pub(super) fn bring_down(
        &mut self,
        is_it: impl Fn(&Job) -> bool,
        now: Stamp,
        error: impl Fn(&Conversation, &Asked) -> LinkError,
    ) {
        while let Some(flight) = self.flights.take_up(&is_it) {
            let error = error(self, &flight.asked);
            self.descend(flight, now, Some(error));
        }
    }

    pub(super) fn expire_flights(&mut self, now: Stamp) {
        while let Some(flight) = self.flights.take(|flight| flight.asked.deadline <= now.moment) {
            if flight.leaving.is_some() {
                self.landed(flight, Effect::Unconfirmed, now.moment, true);
                continue;
            }
            self.trace.note(now, "timeout");
            let asked = &flight.asked;
            let error = self.silent(&asked.job, asked.started, Effect::Unconfirmed, now.moment);
            self.descend(flight, now, Some(error));
        }
        if !self.output.has_orphan() {
            self.flights.left.retain(|(_, until)| *until > now.moment);
        }
    }

    /// A whole reply has come to one who still waits for it.
    pub(super) fn answer(&mut self, asked: Asked, heard: Heard) {
        self.counts.exchanges += 1;
        let now = heard.at.moment;
        let error = self.as_error(&asked.job, &heard.body, asked.started, now);
        let verdict = error.map_or_else(|| Ok(Answer::Message(heard, Vec::new())), Err);
        self.give(asked.job, verdict, now);
    }
}
