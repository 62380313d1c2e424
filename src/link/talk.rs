//! An open exchange: the line belongs to one conversation until it is over. What it left unfetched is a debt.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::conversation::{Conversation, Current, Debt, Owed, Waiting};
use super::hearing::cut;
use super::job::{Job, What};
use super::limits::take_first;
use super::output::{Owner, Sending};
use super::ticket::{Answer, Heard};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError};

/// The exchange that has the line.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: u64,
    pub(super) opened: Moment,
    limit: Duration,
    pub(super) started: Option<Moment>,
    /// What the last message that was sent is owed, until something was received.
    owed: Option<Owed>,
    command: Option<Bytes>,
    /// A wait of this exchange was given up, by its deadline or by its asker: what it waited for may still come.
    unanswered: bool,
    owed_until: Moment,
    pub(super) asks: VecDeque<Waiting>,
    /// Messages that were read for an await that was cancelled.
    back: VecDeque<Heard>,
}

impl Talk {
    pub(super) fn new(id: u64, opened: Moment, limit: Duration) -> Talk {
        Talk {
            id,
            opened,
            limit,
            started: None,
            owed: None,
            command: None,
            unanswered: false,
            owed_until: opened,
            asks: VecDeque::new(),
            back: VecDeque::new(),
        }
    }

    /// When the whole of it has to be over: counted from its first byte.
    fn deadline(&self, now: Moment) -> Moment {
        self.started.unwrap_or(now) + self.limit
    }

    pub(super) fn sent(&mut self, command: Bytes, owed: Owed, started: Moment) {
        self.started.get_or_insert(started);
        self.owed = Some(owed);
        self.command = Some(command);
        self.owed_until = self.deadline(started);
    }

    pub(super) fn put_back(&mut self, heard: Heard, skipped: Vec<Heard>) {
        self.back.push_front(heard);
        for heard in skipped.into_iter().rev() {
            self.back.push_front(heard);
        }
    }
}

impl Conversation {
    fn talk_mut(&mut self) -> Option<&mut Talk> {
        match &mut self.current {
            Some(Current::Talk(talk)) => Some(talk),
            _ => None,
        }
    }

    /// Something asked inside exchange `id`.
    pub(super) fn talk_job(&mut self, id: u64, job: Job, now: Stamp) {
        let Some(talk) = self.talk_mut().filter(|talk| talk.id == id) else {
            let about = self.about(&job, None, now.moment);
            let why = "the exchange is over".to_owned();
            return self.give(job, Err(LinkError::Closed { about, why }), now.moment);
        };
        match &job.what {
            What::Receive { .. } | What::Read(_) => {
                let deadline = (now.moment + job.limit).min(talk.deadline(now.moment));
                talk.asks.push_back(Waiting { job, deadline, skipped: Vec::new() });
            }
            What::Query { .. } | What::Talk | What::Discard | What::Send { .. } => self.send(job, now),
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
            What::Read(want) => cut(&mut self.input, want).map(|bytes| Ok(Answer::Bytes(bytes))),
            What::Receive { pattern, framing } => {
                let Some(framing) = framing.as_ref().or(self.rules.framing.as_ref()) else { return false };
                let next = match talk.back.pop_front() {
                    Some(heard) => Ok(Some(heard)),
                    None => framing.take(&mut self.input).map(|body| body.map(|body| Heard { body, at })),
                };
                match next {
                    Ok(None) => None,
                    Ok(Some(heard)) if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&heard.body)) => {
                        waiting.skipped.push(heard);
                        return true;
                    }
                    Ok(Some(heard)) => Some(Ok(Answer::Message(heard, std::mem::take(&mut waiting.skipped)))),
                    Err(error) => Some(Err(error.to_string())),
                }
            }
            _ => None,
        };
        let Some(answer) = answer else { return false };
        talk.owed = None;
        let Some(waiting) = talk.asks.pop_front() else { return false };
        match answer {
            Ok(answer) => {
                self.counts.exchanges += 1;
                self.lend(waiting.job, answer);
            }
            Err(why) => {
                let about = self.about(&waiting.job, None, at.moment);
                self.give(waiting.job, Err(LinkError::Frame { about, why }), at.moment);
            }
        }
        true
    }

    /// A wait inside the exchange is given up: what it waited for is still owed.
    pub(super) fn withdraw_from_talk(&mut self, id: u64) -> Option<Waiting> {
        let link = self.rules.framing.clone();
        let talk = self.talk_mut()?;
        let waiting = take_first(&mut talk.asks, |waiting| waiting.job.id == id)?;
        still_owed(talk, &waiting, link);
        Some(waiting)
    }

    pub(super) fn expire_talk(&mut self, now: Moment) {
        let link = self.rules.framing.clone();
        while let Some(waiting) = self.talk_mut().and_then(|talk| take_first(&mut talk.asks, |w| w.deadline <= now)) {
            if let Some(talk) = self.talk_mut() {
                still_owed(talk, &waiting, link.clone());
                talk.unanswered = true;
            }
            let command = self.talk_mut().and_then(|talk| talk.command.clone());
            let mut about = self.about(&waiting.job, None, now);
            about.command = command;
            let hint = match &waiting.job.what {
                What::Receive { framing, .. } => framing.as_ref().or(link.as_ref()).and_then(|f| f.hint(&about.heard)),
                _ if !about.heard.is_empty() => Some(format!("{} bytes came", about.heard.len())),
                _ => None,
            };
            let hint = hint.unwrap_or_else(|| "nothing was heard".to_owned());
            let limit = waiting.deadline.since(waiting.job.asked);
            self.give(waiting.job, Err(LinkError::Timeout { about, limit, effect: Effect::Unconfirmed, hint }), now);
        }
    }

    /// A send was given up. What was begun goes out whole all the same, and in an exchange its answer is then owed.
    pub(super) fn left_partway(&mut self, sending: &Sending, begun: bool) -> Effect {
        if !begun {
            return Effect::NeverStarted;
        }
        let owed = self.rules.framing.clone().map_or(Owed::Anything, Owed::Message);
        if let (Some(talk), What::Send { command, .. }) = (self.talk_mut(), &sending.job.what)
            && sending.job.talk == Some(talk.id)
        {
            talk.sent(command.clone(), owed, sending.started.unwrap_or(sending.job.asked));
            talk.unanswered = true;
        }
        Effect::Unconfirmed
    }

    /// The exchange is over.
    pub(super) fn end_talk(&mut self, id: u64, clean: bool, now: Stamp) {
        let Some(Current::Talk(talk)) =
            self.current.take_if(|current| matches!(current, Current::Talk(talk) if talk.id == id))
        else {
            return;
        };
        let mut talk = *talk;
        for id in self.output.of_talk(id) {
            if let Some((Owner::Send(sending), begun)) = self.output.withdraw(id) {
                if begun {
                    talk.owed = Some(self.rules.framing.clone().map_or(Owed::Anything, Owed::Message));
                    talk.unanswered = true;
                }
                let about = self.about(&sending.job, sending.started, now.moment);
                self.give(
                    sending.job,
                    Err(LinkError::Closed { about, why: "the exchange is over".to_owned() }),
                    now.moment,
                );
            }
        }
        while let Some(waiting) = talk.asks.pop_front() {
            still_owed(&mut talk, &waiting, self.rules.framing.clone());
            let about = self.about(&waiting.job, None, now.moment);
            self.give(
                waiting.job,
                Err(LinkError::Closed { about, why: "the exchange is over".to_owned() }),
                now.moment,
            );
        }
        for heard in talk.back {
            self.trace.note(now, format!("not fetched: {}", crate::error::Shown(&heard.body)));
        }
        if let (true, Some(owed)) = (talk.unanswered || !clean, talk.owed) {
            let until = talk.owed_until.max(now.moment) + self.rules.drain;
            self.debt = Some(Debt { owed, command: talk.command, until, unwritten: self.output.has_orphan() });
        }
        self.restore_stale(now.moment);
        self.hear(now);
    }

    /// A poll's reader has gone; a question of it that is still in flight is left.
    pub(super) fn end_poll(&mut self, id: u64, now: Stamp) {
        if !self.polls.remove(id) {
            return;
        }
        let of_poll = |job: &Job| matches!(job.reply, super::job::Sink::Poll(poll) if poll == id);
        self.queue.discard(of_poll);
        if matches!(&self.current, Some(Current::Query(asked)) if of_poll(&asked.job)) {
            self.leave_query(now.moment, |_, _, _| {});
        }
    }
}

fn still_owed(talk: &mut Talk, waiting: &Waiting, link: Option<crate::framing::Framing>) {
    talk.owed = match &waiting.job.what {
        // An exchange that never wrote is owed nothing.
        _ if talk.started.is_none() => None,
        What::Read(want) => Some(Owed::Bytes(want.clone())),
        What::Receive { framing, .. } => framing.clone().or(link).map(Owed::Message),
        _ => None,
    };
    talk.owed_until = talk.owed_until.max(waiting.deadline);
    for heard in waiting.skipped.iter().rev() {
        talk.back.push_front(heard.clone());
    }
}
