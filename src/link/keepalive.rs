//! What is said while nobody says anything, so that the instrument does not fall asleep. Paced here: Python may be blocked.

use super::conversation::Conversation;
use super::job::{Asker, Job, Sink, What};
use super::question::Question;
use super::ticket::{Verdict, next_id};
use crate::clock::{Moment, Stamp};
use crate::error::LinkError;

impl Conversation {
    /// When it is due, if the line stays as it is.
    pub(super) fn keepalive_due(&self) -> Moment {
        match &self.rules.keepalive {
            Some(keepalive) if self.is_free() => self.last_byte.max(self.kept_alive) + keepalive.every,
            _ => Moment::NEVER,
        }
    }

    /// Nobody has the line, waits for it, or is owed something.
    fn is_free(&self) -> bool {
        self.is_open_to_all()
            && self.made_way.is_none()
            && self.current.is_none()
            && self.queue.is_empty()
            && self.debt.is_none()
            && self.flights.is_empty()
            && self.output.is_empty()
            && self.controls.is_empty()
    }

    /// Asks it, if it is due.
    pub(super) fn keep_alive(&mut self, now: Stamp) {
        if self.keepalive_due() > now.moment {
            return;
        }
        let Some(keepalive) = self.rules.keepalive.clone() else { return };
        self.kept_alive = now.moment;
        let (command, frame) = (keepalive.command, keepalive.frame);
        let what = match keepalive.reply {
            Some(framing) => {
                let id = keepalive.id;
                What::Query(Box::new(Question { id, ..Question::new(command, frame, framing) }))
            }
            None => What::Send { command, frame, urgent: false, raw: false },
        };
        let (limit, asked) = (self.rules.limit, now.moment);
        let job = Job {
            id: next_id(),
            talk: None,
            what,
            limit,
            turn: limit,
            asked,
            asker: Asker::Anyone,
            reply: Sink::KeepAlive,
        };
        self.queue.push(job);
    }

    /// It got its verdict. A failure is heard of at once, and by whoever touches the link next.
    pub(super) fn kept_alive(&mut self, verdict: Verdict) {
        let Err(error) = verdict else { return };
        // What ends the session tells everybody itself; a busy line needs no keeping awake.
        if !matches!(error, LinkError::Timeout { .. } | LinkError::Frame { .. } | LinkError::Instrument { .. }) {
            return;
        }
        self.trace.log(crate::link::log::Level::Error, &format!("the keep-alive failed: {error}"));
        self.background = Some(error);
    }
}
