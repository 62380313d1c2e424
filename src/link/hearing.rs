//! What incoming bytes mean: a late reply, the reply, or something nobody asked for.

use std::task::Poll;

use bytes::Bytes;
use regex::bytes::Regex;

use super::conversation::{Conversation, Current, Debt, Owed};
use super::job::{Job, Want, What};
use super::loans::Source;
use super::log::Level;
use super::question::Question;
use super::rules::{IdOf, Resync, code_and_text};
use super::ticket::{Answer, Heard};
use super::trace::{Direction, Event};
use crate::clock::{Moment, Stamp};
use crate::error::{LinkError, Shown};
use crate::framing::{FrameError, Framing, Message, Packets};

impl Conversation {
    /// `n` bytes have been added to `input`.
    pub fn read(&mut self, n: usize, at: Stamp) {
        let from = self.input.len().saturating_sub(n);
        let came = self.input.get(from..).unwrap_or_default();
        let seen = match &self.rules.framing {
            Some(Framing::Packets(_)) => Packets::unmarked(came),
            _ => Bytes::copy_from_slice(came),
        };
        if !seen.is_empty() {
            self.trace.wire(at, Direction::In, seen);
        }
        self.counts.read += u64::try_from(n).unwrap_or(0);
        self.counts.last = Some(at);
        if self.last_heard.is_some_and(|last| last.moment + self.rules.settle <= at.moment) {
            // It has been quiet since whatever it had to settle after: what comes now is new, and may take its own time.
            self.settling = None;
        }
        self.last_heard = Some(at);
        self.last_byte = at.moment;
        if let Some(Debt { owed, until, at_most, .. }) = &mut self.debt
            && matches!(owed.front(), Some(Owed::Anything))
        {
            *until = (*at_most).min(at.moment + self.rules.settle);
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
                self.owe_anything(self.rules.drain, at.moment);
                let error = LinkError::Frame { about, why: error.to_string(), cause: error.cause() };
                self.give(asked.job, Err(error), at.moment);
            }
        }
        self.restore_stale();
        true
    }

    /// The next whole message, where silence may end one too.
    pub(super) fn cut_message(&mut self, framing: &Framing, at: Stamp) -> Result<Option<Message>, FrameError> {
        let message = self.cut_by(framing, at)?;
        match (message, &self.rules.ids) {
            (Some(message), Some(IdOf::Asked(inquiry))) => match inquiry.ask(&message.body) {
                Poll::Pending => {
                    // Heard again when it is known whose it is.
                    self.unread(&[message.wire]);
                    Ok(None)
                }
                Poll::Ready(Err(fault)) => Err(fault.into()),
                Poll::Ready(Ok(id)) => {
                    self.known_id = Some((message.body.clone(), id));
                    Ok(Some(message))
                }
            },
            (message, _) => Ok(message),
        }
    }

    /// The id that `body`, the last message that was cut, carries.
    pub(super) fn id_of(&self, body: &Bytes) -> Option<Bytes> {
        match self.rules.ids.as_ref()? {
            IdOf::Asked(_) => {
                let known = self.known_id.as_ref().filter(|(known, _)| known == body);
                known.map(|(_, id)| id.clone()).filter(|id| !id.is_empty())
            }
            ids => ids.of(body),
        }
    }

    fn cut_by(&mut self, framing: &Framing, at: Stamp) -> Result<Option<Message>, FrameError> {
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
        let Some(owed) = self.debt.as_ref().and_then(|debt| debt.owed.front()).cloned() else { return false };
        let Some(whole) = self.take_owed(&owed, at) else { return false };
        let Some(Debt { owed, until, at_most, .. }) = &mut self.debt else { return false };
        if whole {
            owed.pop_front();
            if matches!(owed.front(), Some(Owed::Anything)) {
                *until = (*until).min(at.moment + self.rules.drain);
                *at_most = *until;
            }
        }
        let settled = owed.is_empty();
        if settled {
            self.debt = None;
            self.settling = Some(at.moment + self.rules.drain);
            self.restore_stale();
        }
        true
    }

    /// Takes something owed, or a part of it, out of the input and drops it; what is among it and somebody else's goes there. Returns
    /// whether that was all of it; `None`: nothing of it has come.
    pub(super) fn take_owed(&mut self, owed: &Owed, at: Stamp) -> Option<bool> {
        match owed {
            Owed::Message { framing, until, accept } => {
                let body = match framing.take(&mut self.input) {
                    Ok(body) => body?,
                    Err(_) => {
                        self.drop_rest(at);
                        return Some(true);
                    }
                };
                if self.is_elsewhere(&body, at) {
                    return Some(false);
                }
                if accept.as_ref().is_some_and(|accept| !accept.is_match(&body)) {
                    self.deliver_unasked(body, at);
                    return Some(false);
                }
                let last = until.as_ref().is_none_or(|until| until.is_match(&body));
                if last {
                    self.hold(&body, at);
                }
                self.drop_late(body, at);
                Some(last)
            }
            Owed::Bytes(want) => {
                let bytes = cut(&mut self.input, want)?;
                self.drop_late(bytes, at);
                Some(true)
            }
            Owed::Anything => {
                if self.input.is_empty() {
                    return None;
                }
                // Something unsolicited may be among it, or begin at its end.
                match self.rules.framing.clone().filter(|_| self.rules.unsolicited.is_some()) {
                    None => self.drop_rest(at),
                    Some(framing) => match framing.take(&mut self.input) {
                        Ok(body) => {
                            let body = body?;
                            if !self.is_elsewhere(&body, at) {
                                self.drop_late(body, at);
                            }
                        }
                        Err(error) => self.trace.note(at, format!("unreadable: {error}")),
                    },
                }
                Some(false)
            }
        }
    }

    /// Drops what has come and was not taken.
    pub(super) fn drop_rest(&mut self, at: Stamp) {
        if !self.input.is_empty() {
            let rest = super::turns::taken(&mut self.input);
            self.drop_late(rest, at);
        }
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
    /// One message.
    pub(super) fn message(framing: Framing) -> Owed {
        Owed::Message { framing, until: None, accept: None }
    }

    /// The reply to `question`.
    pub(super) fn reply_to(question: &Question) -> Owed {
        Owed::Message { framing: question.framing.clone(), until: None, accept: question.accept.clone() }
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
