//! An open exchange: the line belongs to one conversation until it is over. How it is left is in `leaving.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::bytes::Regex;

use super::conversation::{Conversation, Current, Owed, Waiting};
use super::hearing::cut;
use super::job::{Asker, Ending, Job, What};
use super::limits::take_first;
use super::loans::Source;
use super::question::Abort;
use super::ticket::{Answer, Heard};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError};
use crate::framing::Framing;

/// The exchange that has the line.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: u64,
    pub(super) asker: Asker,
    pub(super) opened: Moment,
    limit: Duration,
    pub(super) started: Option<Moment>,
    /// What was sent is owed, oldest first, until something was received for it.
    pub(super) owed: VecDeque<Owed>,
    pub(super) command: Option<Bytes>,
    /// A wait of this exchange was given up, by its deadline or by its asker: what it waited for may still come.
    pub(super) unanswered: bool,
    pub(super) owed_until: Moment,
    /// When the last wait that was given up would have ended.
    pub(super) late_until: Moment,
    /// What failed while nobody waited; whoever waits next is told.
    pub(super) failed: Option<LinkError>,
    /// How many of those that are owed were waited for, and given up.
    given_up: usize,
    pub(super) asks: VecDeque<Waiting>,
    /// Where it was begun, in words.
    pub(super) place: Arc<str>,
    pub(super) abort: Option<Box<Abort>>,
}

impl Talk {
    pub(super) fn new(job: &Job, opened: Moment, place: Arc<str>, abort: Option<Box<Abort>>) -> Talk {
        Talk {
            id: job.id,
            asker: job.asker,
            opened,
            limit: job.limit,
            started: None,
            owed: VecDeque::new(),
            command: None,
            unanswered: false,
            owed_until: opened,
            late_until: opened,
            failed: None,
            given_up: 0,
            asks: VecDeque::new(),
            place,
            abort,
        }
    }

    /// What the instrument did, as far as is known without asking it.
    pub(super) fn effect(&self, ending: Ending) -> Effect {
        if self.started.is_none() {
            Effect::NeverStarted
        } else if self.unanswered {
            Effect::Unconfirmed
        } else if ending == Ending::Clean {
            Effect::RanToCompletion
        } else if self.owed.is_empty() {
            Effect::HaltedAtBoundary
        } else {
            Effect::Unconfirmed
        }
    }

    /// What comes from now on answers nothing that was asked.
    pub(super) fn give_up(&mut self) {
        self.unanswered = true;
        self.owed = VecDeque::from([Owed::Anything]);
        self.given_up = 1;
    }

    /// When the whole of it has to be over: counted from its first byte.
    fn deadline(&self, now: Moment) -> Moment {
        self.started.unwrap_or(now) + self.limit
    }

    pub(super) fn sent(&mut self, command: Bytes, owed: Owed, started: Moment) {
        self.started.get_or_insert(started);
        self.owed.push_back(owed);
        self.command = Some(command);
        self.owed_until = self.deadline(started);
    }

    /// What came for one who left is in the input again.
    pub(super) fn owe_again(&mut self, owed: Option<Owed>) {
        if let Some(owed) = owed {
            // It came before everything else that is owed.
            self.owed.push_front(owed);
        }
    }

    /// A wait is given up: what it waited for is what is owed.
    pub(super) fn still_owed(&mut self, waiting: &Waiting, link: Option<Framing>) {
        self.unanswered = true;
        self.owed_until = self.owed_until.max(waiting.ends());
        self.late_until = self.late_until.max(waiting.ends());
        let owed = match &waiting.job.what {
            // An exchange that never wrote is owed nothing.
            _ if self.started.is_none() => None,
            What::Read(want) => Some(Owed::Bytes(want.clone())),
            What::Receive { framing, pattern, accept } => {
                let (until, accept) = (pattern.clone(), accept.clone());
                framing.clone().or(link).map(|framing| Owed::Message { framing, until, accept })
            }
            _ => None,
        };
        if let Some(owed) = owed {
            self.owed.pop_front();
            self.owed.push_front(owed);
            self.given_up = (self.given_up + 1).min(self.owed.len());
        }
    }

    /// Until when what is owed may come: a wait that was given up had a time of its own.
    pub(super) fn owed_for(&self) -> Moment {
        if self.given_up >= self.owed.len() { self.late_until } else { self.owed_until }
    }
}

impl Conversation {
    pub(super) fn talk_mut(&mut self) -> Option<&mut Talk> {
        match &mut self.current {
            Some(Current::Talk(talk)) => Some(talk),
            _ => None,
        }
    }

    /// Something asked inside exchange `id`.
    pub(super) fn talk_job(&mut self, id: u64, job: Job, now: Stamp) {
        let drain = self.rules.drain;
        let Some(talk) = self.talk_mut().filter(|talk| talk.id == id) else {
            if self.lost_talk == Some(id) {
                let about = self.about(&job, None, now.moment);
                let cause =
                    std::sync::Arc::new(std::io::Error::other("the connection was lost in the middle of the exchange"));
                return self.give(job, Err(LinkError::Lost { about, cause }), now.moment);
            }
            let about = self.about(&job, None, now.moment);
            let why = self.made_way.as_ref().map_or("the exchange is over", |way| &way.why).to_owned();
            return self.give(job, Err(LinkError::Closed { about, why }), now.moment);
        };
        match &job.what {
            What::Receive { .. } | What::Read(_) if talk.failed.is_some() => {
                if let Some(error) = talk.failed.take() {
                    self.give(job, Err(error), now.moment);
                }
            }
            What::Receive { .. } | What::Read(_) => {
                let deadline = Some((now.moment + job.limit).min(talk.deadline(now.moment)));
                talk.asks.push_back(Waiting::new(job, deadline));
            }
            What::CatchUp => {
                let deadline = Some(talk.late_until + drain);
                talk.asks.push_back(Waiting::new(job, deadline));
            }
            What::Leave(ending) => {
                let ending = *ending;
                self.end_talk(id, ending, Some(job), now);
            }
            What::Control(_) => self.control(job, now),
            What::Query(_) | What::Talk { .. } | What::Discard | What::Send { .. } => self.send(job, now),
        }
    }

    /// Serves the first who waits in the exchange. Returns whether more could be done.
    pub(super) fn serve_talk(&mut self, at: Stamp) -> bool {
        if self.is_lending() {
            return false;
        }
        let Some(Current::Talk(talk)) = &mut self.current else { return false };
        let Some(waiting) = talk.asks.front_mut() else { return false };
        let answer = match &waiting.job.what {
            What::CatchUp => return self.catch_up(at),
            What::Read(want) => {
                let Some(bytes) = cut(&mut self.input, want) else { return false };
                waiting.taken.push(bytes.clone());
                Ok(Answer::Bytes(bytes))
            }
            What::Receive { pattern, framing, accept } => {
                let (pattern, accept) = (pattern.clone(), accept.clone());
                let Some(framing) = framing.clone().or_else(|| self.rules.framing.clone()) else { return false };
                match self.receive(&framing, pattern.as_ref(), accept.as_ref(), at) {
                    Ok(Some(answer)) => Ok(answer),
                    Ok(None) => return true,
                    Err(None) => return false,
                    Err(Some(error)) => Err(error),
                }
            }
            _ => return false,
        };
        let Some(Current::Talk(talk)) = &mut self.current else { return false };
        let owed = talk.owed.pop_front();
        talk.given_up = talk.given_up.saturating_sub(1);
        let id = talk.id;
        let Some(waiting) = talk.asks.pop_front() else { return false };
        match answer {
            Ok(answer) => {
                self.counts.exchanges += 1;
                self.lend(waiting.job, answer, Source::Talk { id, taken: waiting.taken, owed });
            }
            Err(error) => {
                // What was passed over on the way to it can still be received.
                self.unread(&waiting.taken);
                self.give(waiting.job, Err(*error), at.moment);
            }
        }
        true
    }

    /// One message for who waits first. `Ok(None)`: it was passed over, or was not for the exchange; `Err(None)`: there is none.
    fn receive(
        &mut self,
        framing: &Framing,
        pattern: Option<&Regex>,
        accept: Option<&Regex>,
        at: Stamp,
    ) -> Result<Option<Answer>, Option<Box<LinkError>>> {
        let cut = self.cut_message(framing, at);
        let Some(Current::Talk(talk)) = &self.current else { return Err(None) };
        let Some(waiting) = talk.asks.front() else { return Err(None) };
        let message = cut.map_err(|error| {
            let about = self.about(&waiting.job, None, at.moment);
            Some(Box::new(LinkError::Frame { about, why: error.to_string(), cause: error.cause() }))
        })?;
        let Some(message) = message else { return Err(None) };
        let wanted = pattern.is_none_or(|pattern| pattern.is_match(&message.body));
        // Asked for by name, it is no error to its asker.
        let asked_for = pattern.is_some() && wanted;
        let (job, started) = (&waiting.job, talk.started);
        let said_no = if asked_for { None } else { self.as_error(job, &message.body, started, at.moment) };
        if self.is_elsewhere(&message.body, at) {
            return Ok(None);
        }
        if accept.is_some_and(|accept| !accept.is_match(&message.body)) {
            self.deliver_unasked(message.body, at);
            return Ok(None);
        }
        if let Some(error) = said_no {
            return Err(Some(Box::new(error)));
        }
        let Some(waiting) = self.talk_mut().and_then(|talk| talk.asks.front_mut()) else { return Err(None) };
        waiting.taken.push(message.wire);
        let heard = Heard { body: message.body, at };
        if !wanted {
            waiting.skipped.push(heard);
            return Ok(None);
        }
        Ok(Some(Answer::Message(heard, std::mem::take(&mut waiting.skipped))))
    }

    /// Drops one of the answers that waits which were given up are owed; when all have come, the exchange is in step again.
    fn catch_up(&mut self, at: Stamp) -> bool {
        let Some(Current::Talk(talk)) = &mut self.current else { return false };
        if talk.unanswered
            && let Some(owed) = talk.owed.front().cloned()
        {
            let Some(whole) = self.take_owed(&owed, at) else { return false };
            if let (true, Some(talk)) = (whole, self.talk_mut()) {
                talk.owed.pop_front();
            }
            return true;
        }
        talk.unanswered = false;
        if let Some(waiting) = talk.asks.pop_front() {
            self.give(waiting.job, Ok(Answer::Nothing), at.moment);
        }
        true
    }

    /// A wait inside the exchange is given up: what it waited for is still owed.
    pub(super) fn withdraw_from_talk(&mut self, id: u64) -> Option<Waiting> {
        let link = self.rules.framing.clone();
        let talk = self.talk_mut()?;
        let waiting = take_first(&mut talk.asks, |waiting| waiting.job.id == id)?;
        talk.still_owed(&waiting, link);
        self.unread(&waiting.taken);
        Some(waiting)
    }

    pub(super) fn expire_talk(&mut self, now: Moment) {
        let link = self.rules.framing.clone();
        while let Some(waiting) =
            self.talk_mut().and_then(|talk| take_first(&mut talk.asks, |waiting| waiting.ends() <= now))
        {
            let Some(talk) = self.talk_mut() else { return };
            if matches!(waiting.job.what, What::CatchUp) {
                talk.owed.clear();
                talk.unanswered = false;
                let at = self.at(now);
                self.trace.note(at, "the owed reply did not come");
                self.give(waiting.job, Ok(Answer::Nothing), now);
                continue;
            }
            talk.still_owed(&waiting, link.clone());
            let command = talk.command.clone();
            let started = talk.started;
            self.unread(&waiting.taken);
            let mut about = self.about(&waiting.job, started, now);
            about.command = command;
            let hint = match &waiting.job.what {
                What::Receive { framing, .. } => framing.as_ref().or(link.as_ref()).and_then(|f| f.hint(&about.heard)),
                _ if !about.heard.is_empty() => Some(format!("{} bytes came", about.heard.len())),
                _ => None,
            };
            let hint = hint.unwrap_or_else(|| "nothing was heard".to_owned());
            let limit = waiting.ends().since(waiting.job.asked);
            self.give(waiting.job, Err(LinkError::Timeout { about, limit, effect: Effect::Unconfirmed, hint }), now);
        }
    }
}
