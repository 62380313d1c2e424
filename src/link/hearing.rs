//! What incoming bytes mean: a late reply, the reply, or something nobody asked for.

use bytes::Bytes;
use regex::bytes::Regex;

use super::conversation::{Conversation, Current, Debt, Owed};
use super::job::{Job, Want, What};
use super::loans::Source;
use super::log::Level;
use super::rules::{Resync, code_and_text};
use super::ticket::{Answer, Heard};
use super::trace::{Direction, Event};
use crate::clock::{Moment, Stamp};
use crate::error::{LinkError, Shown};
use crate::framing::{FrameError, Framing, Message};

impl Conversation {
    /// `n` bytes have been added to `input`.
    pub fn read(&mut self, n: usize, at: Stamp) {
        let from = self.input.len().saturating_sub(n);
        self.trace.wire(at, Direction::In, Bytes::copy_from_slice(self.input.get(from..).unwrap_or_default()));
        self.counts.read += u64::try_from(n).unwrap_or(0);
        self.counts.last = Some(at);
        self.last_heard = Some(at);
        self.last_byte = at.moment;
        if let Some(Debt { owed, until, .. }) = &mut self.debt
            && matches!(owed.front(), Some(Owed::Anything))
        {
            *until = (*until).min(at.moment + self.rules.settle);
        }
        self.hear(at);
    }

    /// Gives what has come to whom it belongs.
    pub(super) fn hear(&mut self, at: Stamp) {
        self.heard_at = self.heard_at.max(at.moment);
        loop {
            let went_on = match (&self.debt, &self.current) {
                (_, Some(Current::Resync { .. })) => self.hear_resync(at),
                _ if !self.echoes.is_empty() => self.hear_echo(at),
                (_, Some(Current::Abort(_))) => self.hear_abort(at),
                (Some(debt), _) if !debt.unwritten => self.hear_late(at),
                (_, Some(Current::Query(asked))) if asked.written => self.hear_reply(at),
                (_, Some(Current::Talk(_))) => self.serve_talk(at),
                (None, None) if self.rules.ids.is_some() => self.hear_by_id(at),
                _ => self.hear_unasked(at),
            };
            if !went_on {
                break;
            }
        }
        self.serve_receives();
        self.serve_reads(at.moment);
    }

    fn hear_reply(&mut self, at: Stamp) -> bool {
        let Some(Current::Query(asked)) = &self.current else { return false };
        let What::Query(question) = &asked.job.what else { return false };
        let (framing, accept) = (question.framing.clone(), question.accept.clone());
        match self.cut_message(&framing, at) {
            Ok(None) => return false,
            Ok(Some(message)) => {
                let body = message.body;
                if self.is_elsewhere(&body, at) {
                    return true;
                }
                if accept.is_some_and(|accept| !accept.is_match(&body)) {
                    self.deliver_unasked(body, at);
                    return true;
                }
                let Some(Current::Query(asked)) = self.current.take() else { return false };
                self.answer(*asked, Heard { body, at });
            }
            Err(error) => {
                let Some(Current::Query(asked)) = self.current.take() else { return false };
                let about = self.about(&asked.job, asked.started, at.moment);
                self.owe_anything(at.moment + self.rules.drain);
                let error = LinkError::Frame { about, why: error.to_string(), cause: error.cause() };
                self.give(asked.job, Err(error), at.moment);
            }
        }
        self.restore_stale();
        true
    }

    /// The next whole message, where silence may end one too.
    pub(super) fn cut_message(&mut self, framing: &Framing, at: Stamp) -> Result<Option<Message>, FrameError> {
        let message = framing.cut(&mut self.input)?;
        if message.is_none()
            && let (Some(quiet), Some(last)) = (framing.quiet(), self.last_heard)
            && !self.input.is_empty()
            && last.moment + quiet <= at.moment
        {
            return framing.cut_quiet(&mut self.input);
        }
        Ok(message)
    }

    /// When silence ends the message that is coming.
    pub(super) fn quiet_deadline(&self) -> Moment {
        let framing = match &self.current {
            Some(Current::Query(asked)) => match &asked.job.what {
                What::Query(question) => Some(&question.framing),
                _ => None,
            },
            Some(Current::Talk(talk)) => match talk.asks.front().map(|waiting| &waiting.job.what) {
                Some(What::Receive { framing: Some(framing), .. }) => Some(framing),
                _ => self.rules.framing.as_ref(),
            },
            _ => self.rules.framing.as_ref(),
        };
        match (framing.and_then(Framing::quiet), self.last_heard) {
            (Some(quiet), Some(last)) if !self.input.is_empty() && last.moment + quiet > self.heard_at => {
                last.moment + quiet
            }
            _ => Moment::NEVER,
        }
    }

    pub(super) fn is_unsolicited(&self, body: &Bytes) -> bool {
        self.rules.unsolicited.as_ref().is_some_and(|unsolicited| unsolicited.is_match(body))
    }

    /// What the reply `body` says went wrong, if it says that.
    pub(super) fn as_error(&self, job: &Job, body: &Bytes, started: Option<Moment>, now: Moment) -> Option<LinkError> {
        let found = |pattern: &Option<Regex>| pattern.as_ref().and_then(|pattern| code_and_text(pattern, body));
        let (busy, (code, text)) = match found(&self.rules.busy) {
            Some(parts) => (true, parts),
            None => (false, found(&self.rules.error)?),
        };
        let mut about = self.about(job, started, now);
        about.heard = body.clone();
        Some(LinkError::Instrument { about, busy, code, text, reply: body.clone() })
    }

    /// What was owed: dropped, and then the line has to be quiet before the next question.
    fn hear_late(&mut self, at: Stamp) -> bool {
        let Some(Debt { owed, until, .. }) = &mut self.debt else { return false };
        let paid = match owed.front() {
            Some(owed) => owed.take(&mut self.input),
            None => return false,
        };
        let Some((late, whole)) = paid else { return false };
        if whole {
            owed.pop_front();
            if matches!(owed.front(), Some(Owed::Anything)) {
                *until = (*until).min(at.moment + self.rules.drain);
            }
        }
        let settled = owed.is_empty();
        self.drop_late(late, at);
        if settled {
            self.debt = None;
            self.settling = Some(at.moment + self.rules.drain);
            self.restore_stale();
        }
        true
    }

    pub(super) fn drop_late(&mut self, data: Bytes, at: Stamp) {
        self.counts.late += 1;
        self.trace.log(Level::Info, &format!("a late reply was dropped: {}", Shown(&data)));
        self.trace.push(Event { at, direction: Direction::Note, data, note: "late".to_owned() });
    }

    fn hear_resync(&mut self, at: Stamp) -> bool {
        let Some(Current::Resync { written, .. }) = &self.current else { return false };
        let (Some(Resync::Command { answer, .. }), Some(framing)) = (&self.rules.resync, &self.rules.framing) else {
            return false;
        };
        let body = match framing.take(&mut self.input) {
            Ok(None) => return false,
            Ok(Some(body)) => body,
            Err(_) => std::mem::take(&mut self.input).freeze(),
        };
        if *written && answer.is_match(&body) {
            self.trace.note(at, format!("in step again: {}", Shown(&body)));
            self.current = None;
            self.debt = None;
            self.echoes.clear();
        } else {
            self.drop_late(body, at);
        }
        true
    }

    fn hear_unasked(&mut self, at: Stamp) -> bool {
        let Some(framing) = self.rules.framing.clone() else { return false };
        match self.cut_message(&framing, at) {
            Ok(None) => false,
            Ok(Some(message)) => {
                if !self.is_elsewhere(&message.body, at) {
                    self.deliver_unasked(message.body, at);
                }
                true
            }
            Err(error) => {
                self.trace.note(at, format!("unreadable: {error}"));
                true
            }
        }
    }

    pub(super) fn deliver_unasked(&mut self, body: Bytes, at: Stamp) {
        if self.unasked.arrived(Heard { body, at }) {
            self.counts.dropped += 1;
            self.trace.note(at, "an unasked message was dropped: nobody has fetched the last thousand");
        }
        self.serve_receives();
    }

    fn serve_receives(&mut self) {
        while !self.is_lending() {
            let Some((waiting, heard)) = self.unasked.serve() else { return };
            self.lend(waiting.job, Answer::Message(heard, Vec::new()), Source::Unasked);
        }
    }

    /// Raw reads outside exchanges, first come, first served, while the line is nobody's.
    fn serve_reads(&mut self, now: Moment) {
        if self.current.is_some() || self.debt.is_some() || self.reads.is_empty() {
            return;
        }
        for waiting in &mut self.reads {
            waiting.deadline.get_or_insert(now + waiting.job.limit);
        }
        while !self.is_lending() {
            let Some(waiting) = self.reads.front() else { return };
            let What::Read(want) = &waiting.job.what else { return };
            let Some(bytes) = cut(&mut self.input, want) else { return };
            if let Some(waiting) = self.reads.pop_front() {
                self.lend(waiting.job, Answer::Bytes(bytes.clone()), Source::Wire(bytes));
            }
        }
    }
}

impl Owed {
    /// Takes it, or a part of it, out of `input`; and whether that was all of it.
    pub(super) fn take(&self, input: &mut bytes::BytesMut) -> Option<(Bytes, bool)> {
        match self {
            Owed::Message(framing) | Owed::Match(framing, _) => match framing.take(input) {
                Ok(body) => {
                    let body = body?;
                    let last = !matches!(self, Owed::Match(_, pattern) if !pattern.is_match(&body));
                    Some((body, last))
                }
                Err(_) => Some((super::turns::taken(input), true)),
            },
            Owed::Bytes(want) => cut(input, want).map(|bytes| (bytes, true)),
            Owed::Anything => (!input.is_empty()).then(|| (super::turns::taken(input), false)),
        }
    }
}

/// The first bytes of `input`, if there are as many as are wanted.
pub(super) fn cut(input: &mut bytes::BytesMut, want: &Want) -> Option<Bytes> {
    let n = match want {
        Want::Exactly(n) => (input.len() >= *n).then_some(*n)?,
        Want::Until(end) => memchr::memmem::find(input, end)? + end.len(),
        Want::Some(most) => (!input.is_empty()).then_some(input.len().min(*most))?,
    };
    Some(input.split_to(n).freeze())
}
