//! What is done with a line besides talking: break, modem lines, settings, waiting until all has left. Says what is next; the actor does it.
//!
//! # Invariants
//! 1. One at a time, in order. A break that was begun is ended, whoever leaves.
//! 2. Settings change, and a break begins, when everything written before has left.

use std::time::Duration;

use super::conversation::{Conversation, Current};
use super::job::{Job, Task, What};
use super::ticket::{Answer, Verdict};
use crate::clock::{Moment, Stamp};
use crate::error::{Effect, LinkError};
use crate::transport::control::{Control, ControlError, Controlled};

/// How long a device may take at least to end a break.
const TO_END: Duration = Duration::from_millis(20);

/// Something to be done, or being done.
#[derive(Debug)]
pub(super) struct Doing {
    /// For whom; nobody: to get back in step.
    job: Option<Job>,
    deadline: Moment,
    step: Step,
    next: Option<Control>,
    hold: Duration,
    /// Whether anything was done to the line.
    begun: bool,
    /// Its asker has left.
    left: bool,
    /// What its asker is told, where it was stopped for somebody else.
    told: Option<LinkError>,
}

#[derive(Debug)]
enum Step {
    Drain,
    Act(Control),
    Hold(Moment),
}

/// What the actor is to do.
#[derive(Debug)]
pub enum Need {
    /// Wait until everything has left.
    Empty,
    /// This.
    Do(Control),
}

impl Conversation {
    /// Puts `job`, a control, in line.
    pub(super) fn control(&mut self, job: Job, now: Stamp) {
        let What::Control(task) = &job.what else { return };
        let (step, next, hold) = match task.clone() {
            Task::Drain => (Step::Drain, None, Duration::ZERO),
            Task::Break(hold) => (Step::Drain, Some(Control::Break(true)), hold),
            Task::Configure(change) => (Step::Drain, Some(Control::Configure(change)), Duration::ZERO),
            Task::Now(control) => (Step::Act(control), None, Duration::ZERO),
        };
        let deadline = now.moment + job.limit;
        let doing = Doing { job: Some(job), deadline, step, next, hold, begun: false, left: false, told: None };
        self.controls.push_back(doing);
    }

    /// A break that resets the instrument; whoever waits for a turn waits for it.
    pub(super) fn reset_by_break(&mut self, hold: Duration, now: Stamp) {
        let deadline = now.moment + self.rules.limit + hold;
        let (step, next) = (Step::Drain, Some(Control::Break(true)));
        self.controls.push_back(Doing { job: None, deadline, step, next, hold, begun: false, left: false, told: None });
        self.current = Some(Current::Control);
    }

    /// What the actor is to do next, if anything.
    pub fn need(&self, now: Moment) -> Option<Need> {
        match &self.controls.front()?.step {
            Step::Drain => Some(Need::Empty),
            Step::Act(control) => Some(Need::Do(control.clone())),
            Step::Hold(until) if *until <= now => Some(Need::Do(Control::Break(false))),
            Step::Hold(_) => None,
        }
    }

    /// Whether frames are still to be written.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Everything written has left.
    pub fn drained(&mut self, now: Stamp) {
        let Some(doing) = self.controls.front_mut() else { return };
        match doing.next.take() {
            Some(control) => doing.step = Step::Act(control),
            None => self.control_over(Ok(Answer::Nothing), now),
        }
    }

    /// What the actor was to do is done, or cannot be.
    pub fn controlled(&mut self, result: Result<Controlled, ControlError>, now: Stamp) {
        let Some(doing) = self.controls.front_mut() else { return };
        doing.begun = true;
        match result {
            Ok(Controlled::Lines(lines)) => self.control_over(Ok(Answer::Lines(lines)), now),
            Ok(Controlled::Done(notices)) => {
                if matches!(doing.step, Step::Act(Control::Break(true))) {
                    doing.step = Step::Hold(now.moment + if doing.left { Duration::ZERO } else { doing.hold });
                    return;
                }
                for notice in notices {
                    self.trace.warn(now, &notice);
                }
                self.control_over(Ok(Answer::Nothing), now);
            }
            Err(error) => {
                let about = self.control_about(now);
                let error = match error {
                    ControlError::Unsupported(why) => LinkError::Unsupported { about, why },
                    ControlError::Lost(cause) => LinkError::Lost { about, cause: cause.into() },
                };
                self.control_over(Err(error), now);
            }
        }
    }

    fn control_about(&self, now: Stamp) -> Box<crate::error::Evidence> {
        match self.controls.front().and_then(|doing| doing.job.as_ref()) {
            Some(job) => self.about(job, None, now.moment),
            None => Box::new(self.evidence(None, None, bytes::Bytes::new(), now.moment)),
        }
    }

    fn control_over(&mut self, verdict: Verdict, now: Stamp) {
        if let Some(doing) = self.controls.pop_front() {
            self.end_control(doing, verdict, now);
        }
    }

    fn end_control(&mut self, doing: Doing, verdict: Verdict, now: Stamp) {
        let had_line = match &doing.job {
            Some(job) => job.talk.is_none() && matches!(&job.what, What::Control(task) if task.wants_line()),
            None => true,
        };
        if had_line && matches!(self.current, Some(Current::Control)) {
            self.current = None;
        }
        match doing.job {
            Some(job) if doing.told.is_some() => {
                self.give(job, doing.told.map_or(verdict, Err), now.moment);
            }
            Some(job) if doing.left => {
                let effect = match (doing.begun, doing.hold.is_zero()) {
                    (false, _) => Effect::NeverStarted,
                    (true, true) => Effect::RanToCompletion,
                    // A break that was cut short.
                    (true, false) => Effect::Halted,
                };
                self.confirm(job, effect, now.moment, None);
            }
            Some(job) => self.give(job, verdict, now.moment),
            None => match verdict {
                Ok(_) => self.reset(now),
                Err(error) => self.resync_failed(&format!("the break that was to reset it failed: {error}"), now),
            },
        }
    }

    /// The instrument was reset: nothing that was owed will come.
    fn reset(&mut self, now: Stamp) {
        self.trace.note(now, "reset by break");
        self.debt = None;
        self.input.clear();
        self.echoes.clear();
        self.discard = true;
        self.settling = Some(now.moment + self.rules.drain);
        self.restore_stale();
    }

    /// The asker of control `id` leaves. Returns whether there is one.
    pub(super) fn leave_control(&mut self, id: u64, now: Stamp) -> bool {
        let Some(index) = self.controls.iter().position(|doing| doing.job.as_ref().is_some_and(|job| job.id == id))
        else {
            return false;
        };
        let Some(doing) = self.controls.get_mut(index) else { return false };
        doing.left = true;
        match &doing.step {
            Step::Hold(until) => doing.step = Step::Hold((*until).min(now.moment)),
            // It may have begun: then it has to end.
            Step::Act(Control::Break(_)) if index == 0 => {}
            Step::Act(_) | Step::Drain => {
                if let Some(doing) = self.controls.remove(index) {
                    self.end_control(doing, Ok(Answer::Nothing), now);
                }
            }
        }
        true
    }

    /// Those that `is_it` says are over as soon as they can be; their askers get `error`.
    pub(super) fn stop_controls(&mut self, is_it: impl Fn(&Job) -> bool, error: &LinkError, now: Stamp) {
        let mut ids = Vec::new();
        for doing in &mut self.controls {
            if let Some(job) = doing.job.as_ref().filter(|job| is_it(job)) {
                ids.push(job.id);
                doing.told = Some(error.clone());
            }
        }
        for id in ids {
            self.leave_control(id, now);
        }
    }

    pub(super) fn controls_deadline(&self) -> Moment {
        let Some(front) = self.controls.front() else { return Moment::NEVER };
        let first = match &front.step {
            Step::Hold(until) => *until,
            Step::Drain | Step::Act(_) => front.deadline,
        };
        self.controls.iter().skip(1).fold(first, |first, behind| first.min(behind.deadline))
    }

    /// Whether the line is held in break, or may be.
    pub fn holds_break(&self) -> bool {
        let step = self.controls.front().map(|front| &front.step);
        matches!(step, Some(Step::Hold(_) | Step::Act(Control::Break(_))))
    }

    pub(super) fn expire_controls(&mut self, now: Stamp) {
        if let Some(front) = self.controls.front_mut()
            && matches!(&front.step, Step::Hold(until) if *until <= now.moment)
        {
            // Ending it may take the device a while, too.
            let limit = front.job.as_ref().map_or(self.rules.limit, |job| job.limit);
            front.step = Step::Act(Control::Break(false));
            front.deadline = now.moment + limit.max(TO_END);
        }
        let overdue = |doing: &Doing| doing.deadline <= now.moment;
        while let Some(index) = self.controls.iter().skip(1).position(overdue) {
            let Some(behind) = self.controls.remove(index + 1) else { return };
            let about = match &behind.job {
                Some(job) => self.about(job, None, now.moment),
                None => self.control_about(now),
            };
            let limit = behind.job.as_ref().map_or(self.rules.limit, |job| job.limit);
            let hint = "what is being done to the line before it has not ended".to_owned();
            let error = LinkError::Timeout { about, limit, effect: Effect::NeverStarted, hint };
            self.end_control(behind, Err(error), now);
        }
        while let Some(front) = self.controls.front()
            && front.deadline <= now.moment
            && !matches!(front.step, Step::Hold(_))
        {
            let about = self.control_about(now);
            let (limit, hint) = match (&front.job, &front.step) {
                (Some(job), Step::Drain) => {
                    (job.limit, "what was written before has not left the machine: is flow control holding the line?")
                }
                (Some(job), _) => (job.limit, "the device has not confirmed it"),
                (None, _) => (self.rules.limit, "the line did not take the break"),
            };
            let error = LinkError::Timeout { about, limit, effect: Effect::Unconfirmed, hint: hint.to_owned() };
            self.control_over(Err(error), now);
        }
    }

    /// The session ends.
    pub(super) fn end_controls(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.controls).into_iter().filter_map(|doing| doing.job).collect()
    }
}
