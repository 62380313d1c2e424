//! A conversation whose port has gone and is opened again: what was in flight fails, what waits goes on waiting.
//!
//! # Invariants
//! 1. What was written and not answered is never written again, unless its asker said that it may be.
//! 2. On the new connection nothing is asked before it is ready.
//! 3. What was owed over the old connection is forgotten, unless the instrument can be asked into step: then that comes first.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::conversation::{Conversation, Current, Debt};
use super::job::{Asker, Job, Sink, What};
use super::output::{Frame, Owner};
use super::rules::Resync;
use crate::clock::{Moment, Stamp};
use crate::error::LinkError;

/// Who may ask.
#[derive(Debug)]
pub(super) enum Access {
    /// Everybody, in turn.
    All,
    /// Nobody: there is no connection.
    Nobody {
        /// Why.
        cause: Arc<io::Error>,
    },
    /// Whoever readies the new connection.
    First {
        /// Why there had to be a new one.
        cause: Arc<io::Error>,
    },
}

impl Conversation {
    /// The connection is gone. `lost`: by itself, and not because it was to be opened anew; then what was in flight fails.
    pub fn go_away(&mut self, cause: &Arc<io::Error>, lost: bool, now: Stamp) {
        self.access = Access::Nobody { cause: cause.clone() };
        let mut failed = Vec::new();
        let mut again = Vec::new();
        // Whether a reply may still come, and to what.
        let mut owed = self.debt.take().map(|debt| debt.command);
        match self.current.take() {
            Some(Current::Query(asked)) => {
                let begun = asked.started.is_some();
                if let (true, What::Query(question)) = (begun, &asked.job.what) {
                    owed = Some(Some(question.command.clone()));
                }
                sort(asked.job, begun, &mut failed, &mut again);
            }
            Some(Current::Talk(talk)) => {
                owed = owed.or(Some(None));
                self.lost_talk = Some(talk.id);
                failed.extend(talk.asks.into_iter().map(|waiting| waiting.job));
            }
            Some(Current::Abort(aborting)) => {
                owed = owed.or(Some(None));
                failed.extend(aborting.job);
            }
            Some(Current::Resync { .. }) => owed = owed.or(Some(None)),
            Some(Current::Control) | None => {}
        }
        for (asked, is_aborted) in self.flights.take_all() {
            if is_aborted {
                failed.push(asked.job);
            } else {
                let begun = asked.started.is_some();
                sort(asked.job, begun, &mut failed, &mut again);
            }
        }
        for frame in self.output.clear() {
            let begun = frame.is_begun();
            if let Frame { owner: Owner::Send(sending), .. } = frame {
                sort(sending.job, begun, &mut failed, &mut again);
            }
        }
        failed.extend(self.end_controls());
        failed.extend(std::mem::take(&mut self.reads).into_iter().map(|waiting| waiting.job));
        failed.extend(std::mem::take(&mut self.unasked.receives).into_iter().map(|waiting| waiting.job));
        for loan in std::mem::take(&mut self.lent) {
            loan.settle();
        }
        self.input.clear();
        self.stale.clear();
        self.echoes.clear();
        self.settling = None;
        self.debt = owed.filter(|_| self.asks_into_step()).map(|command| {
            // Over the new connection the instrument may say what it owed over the old one, where it is the same line.
            let until = now.moment + self.rules.limit + self.rules.drain;
            Debt { owed: VecDeque::new(), command, until, at_most: until, unwritten: false }
        });
        if self.made_way.is_some() {
            // Nobody waits for it to come back.
            failed.append(&mut again);
            failed.extend(self.queue.take_all());
        }
        for mut job in again.into_iter().rev() {
            // Its patience begins anew.
            job.asked = now.moment;
            self.queue.push_front(job);
        }
        for job in failed {
            let error = self.lost_by(&job, cause, now.moment);
            self.give(job, Err(error), now.moment);
        }
        if lost {
            let about = Box::new(self.evidence(None, None, bytes::Bytes::new(), now.moment));
            let error = || LinkError::Lost { about: about.clone(), cause: cause.clone() };
            self.unasked.tell(error);
            // What they would have asked nobody wants to know any more.
            let ended = self.polls.tell(error);
            self.queue.discard(|job| matches!(&job.reply, Sink::Poll(id) if ended.contains(id)));
        }
        self.show();
    }

    /// Whether the instrument can be asked, or made, to be in step at once.
    pub(super) fn asks_into_step(&self) -> bool {
        matches!(self.rules.resync, Some(Resync::Command { .. } | Resync::Break(_)))
    }

    fn lost_by(&self, job: &Job, cause: &Arc<io::Error>, now: Moment) -> LinkError {
        LinkError::Lost { about: self.about(job, None, now), cause: cause.clone() }
    }

    /// There is a connection again; for now only for whoever readies it.
    pub fn come_back(&mut self, now: Stamp) {
        if let Access::Nobody { cause } = &self.access {
            self.access = Access::First { cause: cause.clone() };
        }
        self.last_byte = now.moment;
        self.settle_first(now);
    }

    /// It could not be readied: as before, without one.
    pub fn back_off(&mut self, now: Stamp) {
        if let Access::First { cause } = &self.access {
            let cause = cause.clone();
            self.go_away(&cause, false, now);
        }
    }

    /// It is ready.
    pub fn open_to_all(&mut self) {
        self.access = Access::All;
    }

    /// Whether there is nothing to say anything to.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.access, Access::Nobody { .. })
    }

    /// Whether everybody may ask.
    pub(super) fn is_open_to_all(&self) -> bool {
        matches!(self.access, Access::All)
    }

    /// Who may begin while the new connection is readied.
    pub(super) fn first_of_all(&mut self, now: Moment) -> Option<u64> {
        let in_step = self.debt.is_none() || self.asks_into_step();
        let is_free = self.current.is_none() && self.flights.is_empty() && in_step;
        let is_free = is_free && self.quiet_at(now) <= now;
        match &self.access {
            Access::First { .. } if is_free => {
                self.queue.iter().find(|job| job.asker == Asker::Readying).map(|job| job.id)
            }
            _ => None,
        }
    }

    /// Whether somebody waits for a turn who may have it as soon as the line is free.
    pub(super) fn has_somebody_to_ask(&self) -> bool {
        match &self.access {
            Access::All => !self.queue.is_empty(),
            Access::Nobody { .. } => false,
            Access::First { .. } => self.queue.iter().any(|job| job.asker == Asker::Readying),
        }
    }

    /// What becomes of something that cannot wait for a connection; `None`: it can.
    pub(super) fn no_connection(&self, job: &Job, now: Moment) -> Option<LinkError> {
        let cause = match &self.access {
            Access::All => return None,
            Access::Nobody { cause } => cause,
            Access::First { .. } if job.asker == Asker::Readying => return None,
            Access::First { cause } => cause,
        };
        let waits = match &job.what {
            // The lifespan ends, and has no time to wait for an instrument that is not there.
            _ if self.made_way.is_some() => false,
            What::Send { urgent, .. } => !urgent,
            What::Query(_) | What::Talk { .. } => true,
            What::Control(task) => task.wants_line(),
            _ => false,
        };
        (!waits).then(|| self.lost_by(job, cause, now))
    }

    /// Why `job`'s turn did not come, if that is for want of a connection.
    pub(super) fn still_away(&self, job: &Job, now: Moment) -> Option<LinkError> {
        match &self.access {
            Access::All => None,
            Access::Nobody { cause } | Access::First { cause } => Some(self.lost_by(job, cause, now)),
        }
    }
}

fn sort(job: Job, begun: bool, failed: &mut Vec<Job>, again: &mut Vec<Job>) {
    let may_be_repeated = matches!(&job.what, What::Query(question) if question.idempotent);
    if begun && !may_be_repeated { failed.push(job) } else { again.push(job) }
}
