//! What comes in from outside: what is asked, and who no longer wants it.

use super::conversation::{Conversation, Current, Waiting};
use super::job::{Ending, Job, Request, Sink, Task, What};
use super::output::Owner;
use super::ticket::Heard;
use crate::clock::Stamp;
use crate::error::{Effect, LinkError, Shown};

impl Conversation {
    /// A letter from the outside. `Close` is the actor's own affair and does nothing here.
    pub fn request(&mut self, request: Request, now: Stamp) {
        self.take_note(request, now);
        self.hear(now);
    }

    /// The same, for when bytes have come that are not in `input` as far as anyone has been told: they are heard after it.
    pub fn take_note(&mut self, request: Request, now: Stamp) {
        match request {
            Request::Do(job) => self.take_in(job, now),
            Request::Cancel(id) => self.cancel(id, now),
            Request::Claimed => {}
            Request::EndTalk { talk, ending } => self.end_talk(talk, ending, None, now),
            Request::Subscribe { id, pattern, feed } => self.unasked.subscribe(id, pattern, feed),
            Request::GiveBack(bodies) => {
                for body in bodies.into_iter().rev() {
                    self.unasked.put_back(Heard { body, at: now });
                }
            }
            Request::Poll(poll) if self.has_made_way_for(poll.asker) => {
                poll.feed.end(Some(self.stopping(self.nothing_known(now))));
            }
            Request::Poll(poll) => self.polls.add(poll, now.moment),
            Request::MakeWay(why) => self.make_way(why, now),
            Request::Unsubscribe(id) => {
                self.unasked.unsubscribe(id);
                self.end_poll(id);
            }
            Request::Close(_) => {}
        }
    }

    fn take_in(&mut self, job: Job, now: Stamp) {
        if self.has_made_way_for(job.asker) && !matches!(job.what, What::Leave(_)) {
            let about = self.about(&job, None, now.moment);
            let error = self.stopping(about);
            return self.give(job, Err(error), now.moment);
        }
        if let Sink::Ticket(_) = &job.reply
            && !matches!(job.what, What::Leave(_) | What::Send { urgent: true, .. })
            // It is in the log; the parking comes first.
            && self.made_way.is_none()
            && let Some(error) = self.background.take()
        {
            return self.give(job, Err(error), now.moment);
        }
        if let What::Receive { framing: Some(framing), .. } = &job.what {
            framing.attend(&self.ring);
        }
        if let Some(error) = self.no_connection(&job, now.moment) {
            return self.give(job, Err(error), now.moment);
        }
        if let Some(talk) = job.talk {
            return self.talk_job(talk, job, now);
        }
        match &job.what {
            What::Send { urgent: true, .. } => self.send(job, now),
            What::Control(Task::Now(_) | Task::Drain) => self.control(job, now),
            What::Query(question) if self.is_asked_already(question) => {
                let id = question.id.as_ref().map_or(String::new(), |id| Shown(id).to_string());
                let why = format!("{}: the id {id} is in flight already", self.rules.name);
                self.give(job, Err(LinkError::Argument { why }), now.moment);
            }
            What::Read(_) => self.reads.push_back(Waiting::new(job, None)),
            What::Receive { .. } => {
                let deadline = Some(job.asked + job.limit);
                self.unasked.receives.push_back(Waiting::new(job, deadline));
            }
            _ => self.queue.push(job),
        }
    }

    /// The asker of `id` has left.
    fn cancel(&mut self, id: u64, now: Stamp) {
        if let Some(job) = self.queue.remove(id) {
            self.confirm(job, Effect::NeverStarted, now.moment, None);
        } else if matches!(&self.current, Some(Current::Query(asked)) if asked.job.id == id) {
            self.query_cancelled(now);
        } else if self.leave_flight(id, now) || self.leave_control(id, now) {
            // Told when it is over.
        } else if matches!(&self.current, Some(Current::Talk(talk)) if talk.id == id) {
            self.end_talk(id, Ending::Cancelled, None, now);
        } else if let Some((owner, begun)) = self.output.withdraw(id) {
            if let Owner::Send(sending) = owner {
                let effect = self.left_partway(&sending, begun);
                self.confirm(sending.job, effect, now.moment, sending.started);
            }
        } else if let Some(index) = self.reads.iter().position(|waiting| waiting.job.id == id) {
            if let Some(waiting) = self.reads.remove(index) {
                self.confirm(waiting.job, Effect::NeverStarted, now.moment, None);
            }
        } else if let Some(waiting) = self.unasked.withdraw(id) {
            self.confirm(waiting.job, Effect::NeverStarted, now.moment, None);
        } else if let Some(waiting) = self.withdraw_from_talk(id) {
            self.confirm(waiting.job, Effect::Unconfirmed, now.moment, None);
        } else {
            self.take_back(id, now);
        }
    }
}
