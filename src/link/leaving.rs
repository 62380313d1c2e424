//! How an exchange is left: in peace, with an abort, or owing what it did not fetch.

use super::aborting::{Aborting, Told};
use super::conversation::{Conversation, Current, Debt, Owed};
use super::job::{Ending, Job, What};
use super::output::{Owner, Sending};
use super::talk::Talk;
use super::ticket::Answer;
use crate::clock::Stamp;
use crate::error::{Effect, LinkError, Shown};

impl Conversation {
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

    /// The exchange is over; `job` is told its effect.
    pub(super) fn end_talk(&mut self, id: u64, ending: Ending, job: Option<Job>, now: Stamp) {
        let is_it = |current: &mut Current| matches!(current, Current::Talk(talk) if talk.id == id);
        let Some(Current::Talk(mut talk)) = self.current.take_if(is_it) else { return };
        let framing = self.rules.framing.clone();
        for id in self.output.of_talk(id) {
            if let Some((Owner::Send(sending), begun)) = self.output.withdraw(id) {
                if let (true, What::Send { command, .. }) = (begun, &sending.job.what) {
                    talk.sent(command.clone(), self.an_answer(), sending.started.unwrap_or(now.moment));
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
        let effect = talk.effect(ending);
        if let Some(abort) = talk.abort.take_if(|_| ending != Ending::Clean && effect != Effect::NeverStarted) {
            let mut owed = self.take_owed_to_others();
            owed.extend(talk.owed);
            let mut aborting = Aborting::new(job, *abort, owed, Told::Effect);
            aborting.started = talk.started;
            self.begin_abort(aborting, now);
            return self.hear(now);
        }
        self.owe_echoes();
        if ending == Ending::Clean && !talk.unanswered {
            self.leave_cleanly(&talk, now);
        } else {
            self.leave_owed(*talk, ending, now);
        }
        if let Some(job) = job {
            self.trace.note(now, format!("left: {}", effect.word()));
            self.give(job, Ok(Answer::Effect(effect)), now.moment);
        }
        self.restore_stale();
        self.hear(now);
    }

    /// What its body did not fetch it did not want, and nobody else asked for it.
    fn leave_cleanly(&mut self, talk: &Talk, now: Stamp) {
        let mut more_to_come = !talk.owed.is_empty() || !self.echoes.is_empty();
        if let Some(framing) = self.rules.framing.clone() {
            while let Ok(Some(body)) = framing.take(&mut self.input) {
                if !self.is_elsewhere(&body, now) {
                    self.trace.note(now, format!("not fetched: {}", Shown(&body)));
                }
            }
            more_to_come |= !self.input.is_empty();
        }
        if more_to_come {
            // Whether its last words have an answer is not known: one that is on its way must not be the next question's.
            self.owe_anything(self.rules.settle, now.moment);
        }
    }

    /// It was cut short, or failed, or gave up on an answer: what it is owed is the link's debt.
    fn leave_owed(&mut self, mut talk: Talk, ending: Ending, now: Stamp) {
        let drain = self.rules.drain;
        let mut until = talk.owed_for().max(now.moment) + drain;
        if ending == Ending::Cancelled && talk.started.is_some() {
            if talk.owed.is_empty() {
                until = now.moment + drain;
            }
            // An acknowledgement may be followed by more, and who would have fetched it has left.
            talk.owed.push_back(Owed::Anything);
        }
        if talk.owed.is_empty() {
            while self.take_owed(&Owed::Anything, now).is_some() {
                // All of it.
            }
            self.drop_rest(now);
            self.forget_owed_echoes();
            if talk.started.is_some() {
                self.settling = Some(now.moment + drain);
            }
            return;
        }
        let unwritten = self.output.has_orphan();
        self.owe(Debt { owed: talk.owed, command: talk.command, until, at_most: until, unwritten });
    }

    fn over(&mut self, job: Job, now: Stamp) {
        let about = self.about(&job, None, now.moment);
        let why = self.made_way.as_ref().map_or("the exchange is over", |way| &way.why).to_owned();
        self.give(job, Err(LinkError::Closed { about, why }), now.moment);
    }
}
