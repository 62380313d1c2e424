//! Jobs that wait for the line, first come, first served. Pure.

use std::collections::VecDeque;

use super::job::Job;
use crate::clock::Moment;

/// See the module. Ten thousand may wait: looking at the queue costs nothing while nobody's patience is at its end.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    /// Nobody's patience ends before this.
    alarm: Moment,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { jobs: VecDeque::new(), alarm: Moment::NEVER }
    }
}

fn patience_ends(job: &Job) -> Moment {
    job.asked + job.turn
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Job> {
        self.jobs.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    pub(super) fn push(&mut self, job: Job) {
        self.alarm = self.alarm.min(patience_ends(&job));
        self.jobs.push_back(job);
    }

    pub(super) fn push_front(&mut self, job: Job) {
        self.alarm = self.alarm.min(patience_ends(&job));
        self.jobs.push_front(job);
    }

    pub(super) fn get(&self, id: u64) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        let index = self.jobs.iter().position(|job| job.id == id)?;
        let job = self.jobs.remove(index);
        if self.jobs.is_empty() {
            self.alarm = Moment::NEVER;
        }
        job
    }

    /// When to look for somebody whose patience has ended; never late, but it may be early.
    pub(super) fn alarm(&self) -> Moment {
        self.alarm
    }

    /// Takes out those who have waited longer than they would.
    pub(super) fn impatient(&mut self, now: Moment) -> Vec<Job> {
        if now < self.alarm {
            return Vec::new();
        }
        self.take_those(|job| patience_ends(job) <= now)
    }

    /// Takes out those that `is_it` says.
    pub(super) fn discard(&mut self, is_it: impl Fn(&Job) -> bool) {
        self.jobs.retain(|job| !is_it(job));
    }

    /// Takes out those that `is_it` says, and gives them.
    pub(super) fn take_those(&mut self, is_it: impl Fn(&Job) -> bool) -> Vec<Job> {
        let (those, rest): (VecDeque<Job>, VecDeque<Job>) = std::mem::take(&mut self.jobs).into_iter().partition(is_it);
        self.jobs = rest;
        self.alarm = self.jobs.iter().map(patience_ends).min().unwrap_or(Moment::NEVER);
        Vec::from(those)
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Job> + use<> {
        self.alarm = Moment::NEVER;
        std::mem::take(&mut self.jobs).into_iter()
    }
}
