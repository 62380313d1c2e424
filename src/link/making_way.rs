//! The end of the lifespan around a link: from then on the line is the lifespan's own, to park the instrument by.
//!
//! # Invariants
//! 1. Whoever else waits is told that the instrument is being stopped, and what had an abort is aborted first.
//! 2. What is owed to somebody else is not waited for longer than the line needs to be quiet.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;

use super::aborting::Told;
use super::conversation::{Asked, Conversation, Current, Waiting};
use super::job::{Asker, Ending, Job, What};
use crate::clock::Stamp;
use crate::error::{Evidence, LinkError};

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
        LinkError::Closed { about, why: self.made_way.as_deref().unwrap_or("it is being stopped").to_owned() }
    }

    /// The evidence where nothing was asked.
    pub(super) fn nothing_known(&self, now: Stamp) -> Box<Evidence> {
        Box::new(self.evidence(None, None, Bytes::new(), now.moment))
    }

    /// From now on the line is the lifespan's.
    pub(super) fn make_way(&mut self, why: Arc<str>, now: Stamp) {
        self.made_way = Some(why);
        let error = self.stopping(self.nothing_known(now));
        self.polls.make_way(&error);
        let mut told = self.queue.take_those(is_others);
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
        if self.debt.is_some() {
            // What is owed to others the lifespan has no time to wait for; half a message is not its answer, though.
            self.owe_anything(self.rules.settle, now.moment);
        }
        for job in told {
            let about = self.about(&job, None, now.moment);
            let error = self.stopping(about);
            self.give(job, Err(error), now.moment);
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
