//! An open exchange: the line belongs to one conversation until it is over. What it left unfetched is a debt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::conversation::{Conversation, Current, Debt, Owed, Waiting};
use super::hearing::cut;
use super::job::{Ending, Job, What};
use super::limits::take_first;
use super::loans::Source;
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
    /// When the last wait that was given up would have ended.
    late_until: Moment,
    pub(super) asks: VecDeque<Waiting>,
    /// Where it was begun, in words.
    pub(super) place: Arc<str>,
}

impl Talk {
    pub(super) fn new(id: u64, opened: Moment, limit: Duration, place: Arc<str>) -> Talk {
        Talk {
            id,
            opened,
            limit,
            started: None,
            owed: VecDeque::new(),
            command: None,
            unanswered: false,
            owed_until: opened,
            late_until: opened,
            asks: VecDeque::new(),
            place,
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

    /// What came for one who left is in the input again.
    pub(super) fn owe_again(&mut self, owed: Option<Owed>) {
        if let Some(owed) = owed {
            // It came before everything else that is owed.
            self.owed.push_front(owed);
        }
    }

    /// A wait is given up: what it waited for is what is owed.
    fn still_owed(&mut self, waiting: &Waiting, link: Option<Framing>) {
        self.unanswered = true;
        self.owed_until = self.owed_until.max(waiting.ends());
        self.late_until = self.late_until.max(waiting.ends());
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
        let drain = self.rules.drain;
        let Some(talk) = self.talk_mut().filter(|talk| talk.id == id) else {
            let about = self.about(&job, None, now.moment);
            let why = "the exchange is over".to_owned();
            return self.give(job, Err(LinkError::Closed { about, why }), now.moment);
        };
        match &job.what {
            What::Receive { .. } | What::Read(_) => {
                let deadline = Some((now.moment + job.limit).min(talk.deadline(now.moment)));
                talk.asks.push_back(Waiting::new(job, deadline));
            }
            What::CatchUp => {
                let deadline = Some(talk.late_until + drain);
                talk.asks.push_back(Waiting::new(job, deadline));
            }
            What::Query { .. } | What::Talk { .. } | What::Discard | What::Send { .. } => self.send(job, now),
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
            What::Read(want) => cut(&mut self.input, want).map(|bytes| {
                waiting.taken.push(bytes.clone());
                Ok(Answer::Bytes(bytes))
            }),
            What::Receive { pattern, framing } => {
                let Some(framing) = framing.as_ref().or(self.rules.framing.as_ref()) else { return false };
                match framing.cut(&mut self.input) {
                    Ok(None) => None,
                    Ok(Some(message)) => {
                        waiting.taken.push(message.wire);
                        let heard = Heard { body: message.body, at };
                        if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&heard.body)) {
                            waiting.skipped.push(heard);
                            return true;
                        }
                        Some(Ok(Answer::Message(heard, std::mem::take(&mut waiting.skipped))))
                    }
                    Err(error) => Some(Err(error)),
                }
            }
            _ => None,
        };
        let Some(answer) = answer else { return false };
        let owed = talk.owed.pop_front();
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
                let about = self.about(&waiting.job, None, at.moment);
                self.give(
                    waiting.job,
                    Err(LinkError::Frame { about, why: error.to_string(), cause: error.cause() }),
                    at.moment,
                );
            }
        }
        true
    }

    /// Drops one of the answers that waits which were given up are owed; when all have come, the exchange is in step again.
    fn catch_up(&mut self, at: Stamp) -> bool {
        let Some(Current::Talk(talk)) = &mut self.current else { return false };
        if talk.unanswered
            && let Some(owed) = talk.owed.front()
        {
            let Some((late, whole)) = owed.take(&mut self.input) else { return false };
            if whole {
                talk.owed.pop_front();
            }
            self.drop_late(late, at);
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
            self.unread(&waiting.taken);
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
        let owed = self.an_answer();
        if let (Some(talk), What::Send { command, .. }) = (self.talk_mut(), &sending.job.what)
            && sending.job.talk == Some(talk.id)
        {
            talk.sent(command.clone(), owed, sending.started.unwrap_or(sending.job.asked));
            talk.unanswered = true;
            talk.late_until = talk.late_until.max(sending.deadline);
        }
        Effect::Unconfirmed
    }

    /// The exchange is over.
    pub(super) fn end_talk(&mut self, id: u64, ending: Ending, now: Stamp) {
        let is_it = |current: &mut Current| matches!(current, Current::Talk(talk) if talk.id == id);
        let Some(Current::Talk(mut talk)) = self.current.take_if(is_it) else { return };
        let framing = self.rules.framing.clone();
        for id in self.output.of_talk(id) {
            if let Some((Owner::Send(sending), begun)) = self.output.withdraw(id) {
                if begun {
                    talk.owed.push_back(self.an_answer());
                    talk.unanswered = true;
                }
                self.over(sending.job, now);
            }
        }
        while let Some(waiting) = talk.asks.pop_back() {
            talk.still_owed(&waiting, framing.clone());
            self.unread(&waiting.taken);
            self.over(waiting.job, now);
        }
        if ending == Ending::Clean && !talk.unanswered {
            self.leave_cleanly(&talk, now);
        } else {
            self.leave_owed(*talk, ending, now);
        }
        self.restore_stale();
        self.hear(now);
    }

    /// What its body did not fetch it did not want, and nobody else asked for it.
    fn leave_cleanly(&mut self, talk: &Talk, now: Stamp) {
        let mut more_to_come = !talk.owed.is_empty();
        if let Some(framing) = self.rules.framing.clone() {
            while let Ok(Some(body)) = framing.take(&mut self.input) {
                self.trace.note(now, format!("not fetched: {}", Shown(&body)));
            }
            more_to_come |= !self.input.is_empty();
        }
        if more_to_come {
            // Whether its last words have an answer is not known: one that is on its way must not be the next question's.
            self.owe_anything(now.moment + self.rules.settle);
        }
    }

    /// It was cut short, or failed, or gave up on an answer: what it is owed is the link's debt.
    fn leave_owed(&mut self, mut talk: Talk, ending: Ending, now: Stamp) {
        let drain = self.rules.drain;
        let mut until = talk.owed_until.max(now.moment) + drain;
        if ending == Ending::Cancelled && talk.started.is_some() {
            if talk.owed.is_empty() {
                until = now.moment + drain;
            }
            // An acknowledgement may be followed by more, and who would have fetched it has left.
            talk.owed.push_back(Owed::Anything);
        }
        if talk.owed.is_empty() {
            if !self.input.is_empty() {
                let rest = super::turns::taken(&mut self.input);
                self.drop_late(rest, now);
            }
            if talk.started.is_some() {
                self.settling = Some(now.moment + drain);
            }
            return;
        }
        self.debt = Some(Debt { owed: talk.owed, command: talk.command, until, unwritten: self.output.has_orphan() });
    }

    fn over(&mut self, job: Job, now: Stamp) {
        let about = self.about(&job, None, now.moment);
        self.give(job, Err(LinkError::Closed { about, why: "the exchange is over".to_owned() }), now.moment);
    }
}
