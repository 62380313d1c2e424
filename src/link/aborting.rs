//! The abort of an exchange whose asker has left, or whose time is up: written at once, its answer awaited; then the line is in step again.
//!
//! # Invariants
//! 1. An abort that is begun is seen through: no second cancellation skips it, and nobody else has the line meanwhile.
//! 2. Whoever left is told the effect, as far as the wire can tell, and never before the line is free.

use std::collections::VecDeque;

use bytes::Bytes;

use super::conversation::{Asked, Conversation, Current, Owed};
use super::job::Job;
use super::output::{Frame, Owner};
use super::question::Abort;
use super::ticket::Answer;
use super::turns::taken;
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError, Shown};

/// See the module.
#[derive(Debug)]
pub(super) struct Aborting {
    /// Who is told when it is over; nobody, where he was collected.
    pub(super) job: Option<Job>,
    pub(super) told: Told,
    pub(super) abort: Abort,
    /// What was asked and not answered yet.
    pub(super) owed: VecDeque<Owed>,
    /// One message answers what was asked, and so tells that it ran to its end. Of a longer exchange it may be any part.
    pub(super) is_query: bool,
    pub(super) started: Option<Moment>,
    since: Moment,
    until: Moment,
    written: bool,
    /// What an answer to what was asked said.
    answered: Option<Effect>,
}

/// What the asker is told.
#[derive(Debug)]
pub(super) enum Told {
    /// That he has left.
    Cancelled,
    /// Why it failed.
    Error(LinkError),
    /// The effect alone.
    Effect,
}

impl Aborting {
    pub(super) fn of_query(asked: Asked, abort: Abort, owed: VecDeque<Owed>, told: Told) -> Aborting {
        let started = asked.started;
        Aborting { is_query: true, started, ..Aborting::new(Some(asked.job), abort, owed, told) }
    }

    pub(super) fn new(job: Option<Job>, abort: Abort, owed: VecDeque<Owed>, told: Told) -> Aborting {
        Aborting {
            job,
            told,
            abort,
            owed,
            is_query: false,
            started: None,
            since: Moment::NEVER,
            until: Moment::NEVER,
            written: false,
            answered: None,
        }
    }

    pub(super) fn until(&self) -> Moment {
        self.until
    }

    pub(super) fn since(&self) -> Moment {
        self.since
    }

    /// What is known of it without an answer to the abort itself.
    fn so_far(&self) -> Effect {
        self.answered.unwrap_or(if self.is_query || !self.owed.is_empty() {
            Effect::Unconfirmed
        } else {
            Effect::HaltedAtBoundary
        })
    }
}

impl Conversation {
    /// Sends the abort; the line belongs to it until it is over.
    pub(super) fn begin_abort(&mut self, mut aborting: Aborting, now: Stamp) {
        self.trace.note(now, format!("aborting with {}", Shown(&aborting.abort.command)));
        aborting.since = now.moment;
        aborting.until = now.moment + aborting.abort.limit;
        self.output.push_urgent(Frame::new(aborting.abort.frame.clone(), Owner::Abort), now.moment);
        self.current = Some(Current::Abort(Box::new(aborting)));
    }

    pub(super) fn abort_written(&mut self, now: Stamp) {
        let Some(Current::Abort(aborting)) = &mut self.current else { return };
        aborting.written = true;
        aborting.until = now.moment + aborting.abort.limit;
        let command = aborting.abort.command.clone();
        if aborting.abort.reply.is_none() && aborting.owed.is_empty() {
            // There is nothing that could still be told.
            let effect = aborting.so_far();
            self.end_abort(effect, false, now);
        } else {
            let frame = aborting.abort.frame.clone();
            self.expect_echo(&frame, &command);
        }
    }

    /// What comes while an abort is under way: its answer, or the end of what was asked.
    pub(super) fn hear_abort(&mut self, at: Stamp) -> bool {
        let Some(framing) = self.rules.framing.clone() else {
            let any = !self.input.is_empty();
            if any {
                let rest = taken(&mut self.input);
                self.abort_heard(&rest, at);
                self.drop_late(rest, at);
            }
            return any;
        };
        match self.cut_message(&framing, at) {
            Ok(None) => false,
            Ok(Some(message)) => {
                if self.is_elsewhere(&message.body, at) {
                    return true;
                }
                if self.is_another_devices(&message.body) {
                    self.deliver_unasked(message.body, at);
                } else if !self.abort_heard(&message.body, at) {
                    self.drop_late(message.body, at);
                }
                true
            }
            Err(error) => {
                self.trace.note(at, format!("unreadable: {error}"));
                true
            }
        }
    }

    /// Whether who is aborted would not have taken it either.
    fn is_another_devices(&self, body: &Bytes) -> bool {
        let Some(Current::Abort(aborting)) = &self.current else { return false };
        let answers = aborting.abort.reply.as_ref().is_some_and(|reply| reply.is_match(body));
        match aborting.owed.front() {
            Some(Owed::Message { accept: Some(accept), .. }) => !answers && !accept.is_match(body),
            _ => false,
        }
    }

    /// Returns whether it was the abort's own answer.
    fn abort_heard(&mut self, body: &Bytes, at: Stamp) -> bool {
        let error = self.rules.error.clone();
        let Some(Current::Abort(aborting)) = &mut self.current else { return false };
        let is_answer = aborting.abort.reply.as_ref().is_some_and(|reply| reply.is_match(body));
        if is_answer && aborting.written {
            let effect = match aborting.answered {
                None | Some(Effect::Unconfirmed) => Effect::Halted,
                Some(known) => known,
            };
            self.end_abort(effect, true, at);
            return true;
        }
        let is_whole = match aborting.owed.front() {
            Some(Owed::Message { until: Some(until), .. }) => until.is_match(body),
            Some(_) => true,
            None => false,
        };
        if is_whole {
            // What a query is owed comes last, behind what is owed to others.
            let is_others = aborting.is_query && aborting.owed.len() > 1;
            let tells =
                aborting.is_query || matches!(aborting.owed.front(), Some(Owed::Message { until: Some(_), .. }));
            aborting.owed.pop_front();
            if is_others {
                return false;
            }
            let said_no = error.is_some_and(|error| error.is_match(body));
            if said_no || tells {
                aborting.answered = Some(if said_no { Effect::Halted } else { Effect::RanToCompletion });
            } else {
                aborting.answered.get_or_insert(Effect::Unconfirmed);
            }
            if aborting.abort.reply.is_none() && aborting.owed.is_empty() && aborting.written {
                let effect = aborting.so_far();
                self.end_abort(effect, effect != Effect::Unconfirmed, at);
            }
        }
        false
    }

    pub(super) fn expire_abort(&mut self, now: Stamp) {
        if let Some(Current::Abort(aborting)) = &self.current
            && aborting.until <= now.moment
        {
            let effect = aborting.so_far();
            self.trace.note(now, "the abort was not answered");
            self.end_abort(effect, false, now);
        }
    }

    fn end_abort(&mut self, effect: Effect, confirmed: bool, now: Stamp) {
        let Some(Current::Abort(aborting)) = self.current.take_if(|current| matches!(current, Current::Abort(_)))
        else {
            return;
        };
        self.trace.note(now, format!("aborted: {}", effect.word()));
        self.output.forget_abort();
        self.echoes.clear();
        if !confirmed {
            self.owe_anything(self.rules.drain, now.moment);
        } else if aborting.owed.is_empty() {
            self.settling = Some(now.moment + self.rules.drain);
        } else {
            // A reply may have been on its way when the abort was answered, and it is nobody's message.
            self.owe_anything(self.rules.settle, now.moment);
        }
        if let Some(job) = aborting.job {
            match aborting.told {
                Told::Cancelled => self.confirm(job, effect, now.moment, aborting.started),
                Told::Error(error) => self.give(job, Err(error.with_effect(effect)), now.moment),
                Told::Effect => self.give(job, Ok(Answer::Effect(effect)), now.moment),
            }
        }
        self.restore_stale();
    }
}
