//! What goes out: which frame is next, and what it means that so much of it went.

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
        match self.output.wrote(n).map(|frame| frame.owner) {
            Some(Owner::Send(sending)) => self.sent(sending.job, sending.started, now),
            Some(Owner::Query(id)) => {
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
            Some(Owner::Abort) => self.abort_written(now),
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
