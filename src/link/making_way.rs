//! The end of the lifespan around a link: from then on the line is the lifespan's own, to park the instrument by.
//!
//! # Invariants
//! 1. Whoever else waits is told that the instrument is being stopped, and what had an abort is aborted first.
//! 2. What is owed to somebody else is not waited for: what the lifespan asks is written at once, and the first replies are theirs. Only
//!    where no more come for a quarter of its own time, one to three drains, is the last of them its own.
//! 3. What a child of the lifespan had begun has a drain's time to end.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;

use super::aborting::Told;
use super::conversation::{Asked, Conversation, Current, Owed, Waiting};
use super::job::{Asker, Ending, Job, What};
use super::log::Level;
use super::ticket::Heard;
use crate::clock::{Moment, Stamp};
use crate::error::{Evidence, LinkError};

/// Since when, and why, the line is the lifespan's.
#[derive(Debug)]
pub(super) struct MadeWay {
    pub(super) why: Arc<str>,
    since: Moment,
}

/// What may be the only reply there is, and until when another is waited for.
#[derive(Debug)]
pub(super) struct Held {
    /// For the question of this number.
    id: u64,
    heard: Heard,
    until: Moment,
}

/// An instrument that hangs has forgotten what it was asked before, and answers only this: then the wait for more is in vain. How long
/// an answer may take at all its asker knows.
const OF_ITS_TIME: u32 = 4;
/// But whoever stops an instrument that hangs does not want to wait.
const DRAINS: u32 = 3;

fn is_others(job: &Job) -> bool {
    job.asker == Asker::Anyone
}

impl Conversation {
    /// Whether what `asker` asks comes too late.
    pub(super) fn has_made_way_for(&self, asker: Asker) -> bool {
        self.made_way.is_some() && asker == Asker::Anyone
    }

    /// The error of who asks, or waits, although the lifespan ends.
    pub(super) fn stopping(&self, about: Box<Evidence>) -> LinkError {
        let why = self.made_way.as_ref().map_or("it is being stopped", |way| &way.why).to_owned();
        LinkError::Closed { about, why }
    }

    /// The evidence where nothing was asked.
    pub(super) fn nothing_known(&self, now: Stamp) -> Box<Evidence> {
        Box::new(self.evidence(None, None, Bytes::new(), now.moment))
    }

    /// From now on the line is the lifespan's.
    pub(super) fn make_way(&mut self, why: Arc<str>, now: Stamp) {
        self.made_way = Some(MadeWay { why, since: now.moment });
        let error = self.stopping(self.nothing_known(now));
        self.polls.make_way(&error);
        let mut told = self.queue.take_those(is_others);
        told.extend(self.output.take_waiting(is_others));
        self.stop_controls(is_others, &error, now);
        for waits in [&mut self.reads, &mut self.unasked.receives] {
            let (others, own): (Vec<Waiting>, Vec<Waiting>) =
                take(waits).into_iter().partition(|waiting| is_others(&waiting.job));
            *waits = own.into();
            told.extend(others.into_iter().map(|waiting| waiting.job));
        }
        self.bring_down(is_others, now, |conversation, asked| conversation.stopping_of(asked, now));
        match &self.current {
            Some(Current::Query(asked)) if is_others(&asked.job) => self.end_query(now),
            Some(Current::Talk(talk)) if talk.asker == Asker::Anyone => {
                self.end_talk(talk.id, Ending::Cancelled, None, now);
            }
            _ => {}
        }
        for job in told {
            let about = self.about(&job, None, now.moment);
            let error = self.stopping(about);
            self.give(job, Err(error), now.moment);
        }
    }

    /// While others are owed a reply: what the lifespan asks, which does not wait for that. The first reply that comes is theirs.
    pub(super) fn first_that_parks(&self) -> Option<&Job> {
        self.made_way.as_ref()?;
        let debt = self.debt.as_ref().filter(|debt| !debt.unwritten)?;
        if matches!(debt.owed.front(), Some(Owed::Anything)) {
            // That is over when the line is quiet.
            return None;
        }
        self.queue.iter().find(|job| job.asker == Asker::Lifespan)
    }

    /// A lifespan asks although something is owed: of what is to come without being asked for nobody knows how much it is.
    pub(super) fn owe_only_what_can_be_counted(&mut self) {
        if let (Some(_), Some(debt)) = (&self.made_way, &mut self.debt) {
            debt.owed.retain(|owed| !matches!(owed, Owed::Anything));
            self.debt.take_if(|debt| debt.owed.is_empty());
        }
    }

    /// What is owed to others, by a debt that is now part of something else.
    pub(super) fn take_owed_to_others(&mut self) -> VecDeque<Owed> {
        self.debt.take().map_or_else(VecDeque::new, |debt| debt.owed)
    }

    /// The last reply that was owed to others has come: it may be all that comes.
    pub(super) fn hold(&mut self, body: &Bytes, at: Stamp) {
        let is_last = self.debt.as_ref().is_some_and(|debt| debt.owed.len() == 1);
        if let (Some(_), Some(Current::Query(asked)), true) = (&self.made_way, &self.current, is_last) {
            let span = (asked.job.limit / OF_ITS_TIME).clamp(self.rules.drain, self.rules.drain * DRAINS);
            let until = asked.deadline.min(at.moment + span);
            self.held = Some(Held { id: asked.job.id, heard: Heard { body: body.clone(), at }, until });
        }
    }

    /// When something of this is due.
    pub(super) fn way_deadline(&self) -> Moment {
        let held = self.held.as_ref().map_or(Moment::NEVER, |held| held.until);
        held.min(self.child_has_the_line().unwrap_or(Moment::NEVER))
    }

    /// Until when a child of the lifespan may go on with what it had begun, where the lifespan itself waits.
    fn child_has_the_line(&self) -> Option<Moment> {
        let way = self.made_way.as_ref().filter(|_| !self.queue.is_empty())?;
        let began = match self.current.as_ref()? {
            Current::Query(asked) => asked.since,
            Current::Talk(talk) => talk.opened,
            _ => return None,
        };
        (began < way.since).then(|| way.since + self.rules.drain)
    }

    pub(super) fn expire_way(&mut self, now: Stamp) {
        if self.child_has_the_line().is_some_and(|until| until <= now.moment) {
            self.trace.note(now, "a part of the lifespan had the line for too long");
            match &self.current {
                Some(Current::Talk(talk)) => self.end_talk(talk.id, Ending::Cancelled, None, now),
                _ => self.end_query(now),
            }
        }
        let due = self.held.take_if(|held| held.until <= now.moment);
        let is_it = |current: &mut Current| matches!(current, Current::Query(asked) if due.as_ref().is_some_and(|held| held.id == asked.job.id));
        if let (Some(Current::Query(asked)), Some(held)) = (self.current.take_if(is_it), due) {
            self.trace.log(
                Level::Warning,
                "one reply came where two were owed: it is taken for the answer to the last words",
            );
            self.answer(*asked, held.heard);
        }
    }

    fn stopping_of(&self, asked: &Asked, now: Stamp) -> LinkError {
        self.stopping(self.about(&asked.job, asked.started, now.moment))
    }

    fn end_query(&mut self, now: Stamp) {
        let Some(Current::Query(asked)) = &self.current else { return };
        let aborts = matches!(&asked.job.what, What::Query(question) if question.abort.is_some());
        let error = self.stopping_of(asked, now);
        if aborts && asked.started.is_some() {
            return self.abort_query(Told::Error(error), now);
        }
        self.leave_query(|conversation, asked, effect| {
            conversation.give(asked.job, Err(error.with_effect(effect)), now.moment);
        });
    }
}
