//! What goes out: which frame is next, and what it means that so much of it went.

use std::time::Duration;

use bytes::Bytes;

use super::conversation::{Conversation, Current};
use super::job::{Job, What};
use super::output::Owner;
use super::ticket::Answer;
use crate::clock::{Moment, Stamp};

impl Conversation {
    /// What to write now.
    pub fn to_write(&self, now: Moment) -> Option<Bytes> {
        let front = self.output.front()?;
        (front.is_begun() || front.urgent || self.earliest(now) <= now).then(|| front.rest.clone())
    }

    /// The first `n` bytes of what was to be written went.
    pub fn wrote(&mut self, n: usize, now: Stamp) {
        self.counts.written += u64::try_from(n).unwrap_or(0);
        self.counts.last = Some(now);
        self.last_byte = now.moment;
        if let Some(frame) = self.output.front_mut() {
            self.trace.wire(now, super::trace::Direction::Out, frame.rest.slice(..n.min(frame.rest.len())));
            if !frame.is_begun() {
                match &mut frame.owner {
                    Owner::Send(sending) => {
                        sending.started = Some(now.moment);
                        sending.deadline = now.moment + sending.job.limit;
                    }
                    Owner::Query(id) => {
                        let asked = match &mut self.current {
                            Some(Current::Query(asked)) => Some(&mut **asked),
                            _ => self.flights.get_mut(*id),
                        };
                        if let Some(asked) = asked {
                            asked.started = Some(now.moment);
                            asked.deadline = now.moment + asked.job.limit;
                        }
                    }
                    Owner::Resync | Owner::Abort | Owner::Nobody => {}
                }
            }
        }
        let whole = self.output.wrote(n);
        if !self.output.is_empty() {
            self.line_moves(now.moment);
        }
        let Some(frame) = whole else { return };
        match frame.owner {
            Owner::Send(sending) => self.sent(sending.job, sending.started, now),
            Owner::Query(id) => {
                let asked = match &mut self.current {
                    Some(Current::Query(asked)) => Some(&mut **asked),
                    _ => self.flights.get_mut(id),
                };
                if let Some(asked) = asked {
                    asked.written = true;
                    if let Some((frame, command)) = Conversation::said(&asked.job.what) {
                        self.expect_echo(&frame, &command);
                    }
                }
            }
            Owner::Abort => self.abort_written(now),
            Owner::Resync => {
                if let Some(Current::Resync { written, .. }) = &mut self.current {
                    *written = true;
                }
            }
            Owner::Nobody => {
                if let Some((frame, command)) = &frame.said {
                    self.owe_echo(frame, command);
                }
                self.flights.expect_late(now.moment + self.rules.drain);
                if let Some(debt) = &mut self.debt
                    && debt.unwritten
                {
                    debt.unwritten = false;
                    debt.until = debt.until.max(now.moment + self.rules.drain);
                    debt.at_most = debt.at_most.max(debt.until);
                }
            }
        }
    }

    /// Whoever waits for his first byte behind others has all his time still: his clock starts with it.
    fn line_moves(&mut self, now: Moment) {
        let in_no_time = self.begun_by(Duration::ZERO, now);
        let waits = match &mut self.current {
            Some(Current::Query(asked)) if asked.started.is_none() => Some(&mut **asked),
            _ => None,
        };
        for asked in waits.into_iter().chain(self.flights.not_begun()) {
            asked.deadline = asked.deadline.max(in_no_time + asked.job.limit);
        }
        for sending in self.output.not_begun() {
            sending.deadline = sending.deadline.max(in_no_time + sending.job.limit);
        }
    }

    fn sent(&mut self, job: Job, started: Option<Moment>, now: Stamp) {
        let owed = self.an_answer();
        if let Some((frame, command)) = Conversation::said(&job.what) {
            self.expect_echo(&frame, &command);
        }
        if let (Some(id), Some(Current::Talk(talk)), What::Send { command, .. }) =
            (job.talk, &mut self.current, &job.what)
            && talk.id == id
        {
            talk.sent(command.clone(), owed, started.unwrap_or(now.moment));
        }
        self.give(job, Ok(Answer::Nothing), now.moment);
    }
}
