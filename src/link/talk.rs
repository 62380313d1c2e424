//! An open exchange: the line belongs to one conversation until it is over. What it left unfetched is a debt.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::conversation::{Conversation, Current, Debt, Owed, Waiting};
use super::hearing::cut;
use super::job::{Ending, Job, What};
use super::limits::take_first;
use super::output::{Owner, Sending};
use super::ticket::{Answer, Heard};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError, Shown};
use crate::framing::Framing;

/// The exchange that has the line.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: u64,
    pub(super) opened: Moment,
    limit: Duration,
    pub(super) started: Option<Moment>,
    /// What was sent is owed, oldest first, until something was received for it.
    owed: VecDeque<Owed>,
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
            owed: VecDeque::new(),
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
        self.owed.push_back(owed);
        self.command = Some(command);
        self.owed_until = self.deadline(started);
    }

    pub(super) fn put_back(&mut self, heard: Heard, skipped: Vec<Heard>) {
        self.back.push_front(heard);
        for heard in skipped.into_iter().rev() {
            self.back.push_front(heard);
        }
    }

    /// A wait is given up: what it waited for is what is owed.
    fn still_owed(&mut self, waiting: &Waiting, link: Option<Framing>) {
        for heard in waiting.skipped.iter().rev() {
            self.back.push_front(heard.clone());
        }
        self.unanswered = true;
        self.owed_until = self.owed_until.max(waiting.ends());
        let owed = match &waiting.job.what {
            // An exchange that never wrote is owed nothing.
            _ if self.started.is_none() => None,
            What::Read(want) => Some(Owed::Bytes(want.clone())),
            What::Receive { framing, pattern } => framing.clone().or(link).map(|framing| match pattern {
                Some(pattern) => Owed::Match(framing, pattern.clone()),
                None => Owed::Message(framing),
            }),
            _ => None,
        };
        if let Some(owed) = owed {
            self.owed.pop_front();
            self.owed.push_front(owed);
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
                let deadline = Some((now.moment + job.limit).min(talk.deadline(now.moment)));
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
        talk.owed.pop_front();
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
        talk.still_owed(&waiting, link);
        Some(waiting)
    }

    pub(super) fn expire_talk(&mut self, now: Moment) {
        let link = self.rules.framing.clone();
        while let Some(waiting) =
            self.talk_mut().and_then(|talk| take_first(&mut talk.asks, |waiting| waiting.ends() <= now))
        {
            if let Some(talk) = self.talk_mut() {
                talk.still_owed(&waiting, link.clone());
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
            let limit = waiting.ends().since(waiting.job.asked);
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
    pub(super) fn end_talk(&mut self, id: u64, ending: Ending, now: Stamp) {
        let is_it = |current: &mut Current| matches!(current, Current::Talk(talk) if talk.id == id);
        let Some(Current::Talk(mut talk)) = self.current.take_if(is_it) else { return };
        let framing = self.rules.framing.clone();
        let answer = || framing.clone().map_or(Owed::Anything, Owed::Message);
        for id in self.output.of_talk(id) {
            if let Some((Owner::Send(sending), begun)) = self.output.withdraw(id) {
                if begun {
                    talk.owed.push_back(answer());
                    talk.unanswered = true;
                }
                self.over(sending.job, now);
            }
        }
        while let Some(waiting) = talk.asks.pop_front() {
            talk.still_owed(&waiting, framing.clone());
            self.over(waiting.job, now);
        }
        // Read for an await that was cancelled, or not read at all: then what was to come is there.
        let has_come = !talk.back.is_empty() || !self.input.is_empty();
        for heard in talk.back {
            self.trace.note(now, format!("not fetched: {}", Shown(&heard.body)));
        }
        let mut owed = VecDeque::new();
        if ending != Ending::Clean || talk.unanswered {
            owed.append(&mut talk.owed);
        }
        if ending == Ending::Cancelled && owed.is_empty() && talk.started.is_some() && !has_come {
            // Cut short between two messages: nobody knows whether another was to come.
            owed.push_back(answer());
        }
        if ending != Ending::Clean && owed.is_empty() && !self.input.is_empty() {
            let rest = super::turns::taken(&mut self.input);
            self.drop_late(rest, now);
        }
        if !owed.is_empty() {
            let until = talk.owed_until.max(now.moment) + self.rules.drain;
            self.debt = Some(Debt { owed, command: talk.command, until, unwritten: self.output.has_orphan() });
        } else if ending != Ending::Clean && talk.started.is_some() {
            self.settling = Some(now.moment + self.rules.drain);
        }
        self.restore_stale(now.moment);
        self.hear(now);
    }

    fn over(&mut self, job: Job, now: Stamp) {
        let about = self.about(&job, None, now.moment);
        self.give(job, Err(LinkError::Closed { about, why: "the exchange is over".to_owned() }), now.moment);
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
