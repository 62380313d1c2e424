//! When a wait has been long enough, and what its error says: whose move it is, how far things had come, who is in the way.

use std::collections::VecDeque;
use std::time::Duration;

use super::aborting::Told;
use super::conversation::{Asked, Conversation, Current, Owed, Waiting};
use super::job::{Job, What};
use super::output::Owner;
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError, Seconds, Shown};

impl Conversation {
    /// The next moment at which [`Conversation::expire`] has something to do.
    pub fn next_deadline(&mut self, now: Moment) -> Moment {
        let mut next = self.output.cut_at().min(self.queue.alarm());
        if self.is_open_to_all() {
            next = next.min(self.polls.next_due());
        }
        match &self.current {
            Some(Current::Query(asked)) => next = next.min(asked.deadline),
            Some(Current::Talk(talk)) => next = talk.asks.iter().fold(next, |next, ask| next.min(ask.ends())),
            Some(Current::Resync { deadline, .. }) => next = next.min(*deadline),
            Some(Current::Abort(aborting)) => next = next.min(aborting.until()),
            Some(Current::Control) => {}
            None if self.waits_for_quiet(now) => next = next.min(self.quiet_at(now)),
            None => {}
        }
        if let Some(debt) = &self.debt
            && !debt.unwritten
        {
            next = next.min(debt.until);
        }
        next = next
            .min(self.output.next_deadline())
            .min(self.flights.next_deadline(self.output.has_orphan()))
            .min(self.controls_deadline());
        next = next.min(self.quiet_deadline()).min(self.keepalive_due()).min(self.way_deadline());
        if self.output.front().is_some_and(|frame| !frame.is_begun() && !frame.urgent) && self.earliest(now) > now {
            next = next.min(self.earliest(now));
        }
        self.reads.iter().chain(&self.unasked.receives).fold(next, |next, waiting| next.min(waiting.ends()))
    }

    /// Whether somebody could begin, if only the line were quiet.
    fn waits_for_quiet(&self, now: Moment) -> bool {
        // On a new connection whoever waits begins by asking into step, when that is quiet.
        let brief = now + self.rules.settle;
        let asks = self.settling.is_some() && self.asks_into_step();
        let owes = self.debt.as_ref().is_some_and(|debt| !asks || debt.until <= brief);
        let is_held_up = !self.has_somebody_to_ask() || owes || !self.flights.is_empty();
        !is_held_up && if self.rules.ids.is_some() { self.next_to_fly().is_some() } else { !self.queue.is_empty() }
    }

    /// Ends what has waited long enough.
    pub fn expire(&mut self, now: Stamp) {
        let moment = now.moment;
        // What is there counts, however late it is looked at.
        self.hear(now);
        self.expire_way(now);
        if matches!(&self.current, Some(Current::Query(asked)) if asked.deadline <= moment) {
            self.query_timed_out(now);
        }
        self.expire_flights(now);
        self.expire_abort(now);
        self.expire_controls(now);
        if matches!(&self.current, Some(Current::Resync { deadline, .. }) if *deadline <= moment) {
            self.resync_overdue(now);
        }
        if self.debt.as_ref().is_some_and(|debt| !debt.unwritten && debt.until <= moment) {
            self.end_debt(now);
            self.restore_stale();
        }
        for job in self.queue.impatient(moment) {
            let error = self.busy(&job, moment);
            self.give(job, Err(error), moment);
        }
        while let Some(id) = self.output.overdue(moment) {
            if let Some((Owner::Send(sending), begun)) = self.output.withdraw(id) {
                let effect = self.left_partway(&sending, begun);
                let error = self.silent(&sending.job, sending.started, effect, moment);
                self.give(sending.job, Err(error), moment);
            }
        }
        self.expire_waiting(moment);
        self.hear(now);
    }

    /// What is owed has not come, as far as can be told.
    fn end_debt(&mut self, now: Stamp) {
        let Some(debt) = self.debt.take() else { return };
        self.forget_owed_echoes();
        if matches!(debt.owed.front(), Some(Owed::Anything)) {
            // Whatever it was, it is over when the line is quiet.
            if self.last_heard.is_none_or(|last| last.moment + self.rules.settle <= now.moment) {
                self.drop_rest(now);
            }
            self.settling = Some(now.moment + self.rules.drain);
        } else {
            self.trace.note(now, "the owed reply did not come");
        }
    }

    fn expire_waiting(&mut self, now: Moment) {
        self.expire_talk(now);
        while let Some(waiting) = take_first(&mut self.reads, |waiting| waiting.ends() <= now) {
            let error = match waiting.deadline {
                None => self.busy(&waiting.job, now),
                Some(_) => self.silent(&waiting.job, None, Effect::NeverStarted, now),
            };
            self.give(waiting.job, Err(error), now);
        }
        while let Some(waiting) = take_first(&mut self.unasked.receives, |waiting| waiting.ends() <= now) {
            let error = self.silent(&waiting.job, None, Effect::NeverStarted, now);
            self.give(waiting.job, Err(error), now);
        }
    }

    fn query_timed_out(&mut self, now: Stamp) {
        let moment = now.moment;
        let Some(Current::Query(asked)) = &self.current else { return };
        let aborts = matches!(&asked.job.what, What::Query(question) if question.abort.is_some());
        if aborts && asked.started.is_some() {
            let error = self.silent(&asked.job, asked.started, Effect::Unconfirmed, moment);
            self.trace.note(now, "timeout");
            return self.abort_query(Told::Error(error), now);
        }
        self.leave_query(|conversation, asked, effect| {
            let error = conversation.silent(&asked.job, asked.started, effect, moment);
            conversation.trace.note(now, "timeout");
            conversation.give(asked.job, Err(error), moment);
        });
    }

    fn resync_overdue(&mut self, now: Stamp) {
        let Some(Current::Resync { since, .. }) = self.current.take() else { return };
        let waited = Seconds(now.moment.since(since));
        self.resync_failed(&format!("the resync command got no answer within {waited} s"), now);
    }

    pub(super) fn resync_failed(&mut self, why: &str, now: Stamp) {
        self.trace.note(now, "not in step: ".to_owned() + why);
        let Some(id) = self.queue.iter().find(|job| super::turns::expects_reply(job)).map(|job| job.id) else { return };
        if let Some(job) = self.queue.remove(id) {
            let about = self.about(&job, None, now.moment);
            let why = format!("{why}, so nothing more was asked");
            self.give(job, Err(LinkError::Busy { about, why, lifespan: 0 }), now.moment);
        }
    }

    pub(super) fn silent(&self, job: &Job, started: Option<Moment>, effect: Effect, now: Moment) -> LinkError {
        let about = self.about(job, started, now);
        let writes = matches!(job.what, What::Query(_) | What::Send { .. });
        let hint = match &job.what {
            _ if writes && started.is_none() => {
                "not one byte could be written: is flow control holding the line, or is nobody reading at the other end?".to_owned()
            }
            What::Send { raw: true, frame, .. } => {
                format!("part of the {} bytes could not be written: the line takes no more", frame.len())
            }
            What::Send { .. } => "the message could not be written whole: the line takes no more".to_owned(),
            What::Query(question) => {
                question.framing.hint(&about.heard).unwrap_or_else(|| "nothing was heard".to_owned())
            }
            What::Receive { framing, .. } => {
                let framing = framing.as_ref().or(self.rules.framing.as_ref());
                framing.and_then(|f| f.hint(&about.heard)).unwrap_or_else(|| "no message was heard".to_owned())
            }
            _ if about.heard.is_empty() => "nothing was heard".to_owned(),
            _ => format!("{} bytes came, which stay for the next read", about.heard.len()),
        };
        LinkError::Timeout { about, limit: job.limit, effect, hint }
    }

    fn busy(&self, job: &Job, now: Moment) -> LinkError {
        if let Some(error) = self.still_away(job, now) {
            return error;
        }
        let about = self.about(job, None, now);
        let waited = Seconds(job.turn);
        let why = match (&self.current, &self.debt) {
            (Some(Current::Query(asked)), _) => {
                let what = asked.about_command();
                format!(
                    "{what} has had the line for {} s; the turn did not come within {waited} s",
                    Seconds(now.since(asked.since))
                )
            }
            (Some(Current::Talk(talk)), _) => {
                format!(
                    "the exchange begun {} has had the line for {} s; the turn did not come within {waited} s",
                    talk.place,
                    Seconds(now.since(talk.opened))
                )
            }
            (Some(Current::Abort(aborting)), _) => {
                format!(
                    "an abort, {}, has waited for its answer for {} s; the turn did not come within {waited} s",
                    Shown(&aborting.abort.command),
                    Seconds(now.since(aborting.since()))
                )
            }
            (_, Some(debt)) => {
                let command = debt.command.as_deref().map_or("a command".to_owned(), |c| Shown(c).to_string());
                let until = if debt.until == Moment::NEVER {
                    "for ever (it was asked without a time limit)".to_owned()
                } else {
                    format!("until {} s from now", Seconds(debt.until.since(now).max(Duration::from_millis(1))))
                };
                format!(
                    "it owes a reply to {command} {until}, longer than turn={waited} s; give resync= to get back in step at once"
                )
            }
            _ => match self.flights.first() {
                Some(asked) => {
                    format!("{} is in flight; the turn did not come within {waited} s", asked.about_command())
                }
                None => format!("the line was not quiet within {waited} s"),
            },
        };
        LinkError::Busy { about, why, lifespan: 0 }
    }
}

impl Waiting {
    /// When its patience ends: for its turn, and then for its bytes.
    pub(super) fn ends(&self) -> Moment {
        self.deadline.unwrap_or(self.job.asked + self.job.turn)
    }
}

impl Asked {
    fn about_command(&self) -> String {
        match &self.job.what {
            What::Query(question) => format!("the query {}", Shown(&question.command)),
            _ => "a query".to_owned(),
        }
    }
}

pub(super) fn take_first<T>(queue: &mut VecDeque<T>, is_it: impl Fn(&T) -> bool) -> Option<T> {
    let index = queue.iter().position(is_it)?;
    queue.remove(index)
}
