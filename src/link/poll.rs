//! Questions asked at a steady pace. Pure: says which is due and when the next one is; never drifts, and never asks twice at once.

use std::time::Duration;

use super::job::{Asker, Poll};
use super::ticket::{Answer, Verdict};
use crate::clock::Moment;
use crate::error::LinkError;

#[derive(Debug, Default)]
pub(super) struct Polls(Vec<Beat>);

#[derive(Debug)]
struct Beat {
    poll: Poll,
    start: Moment,
    due: Moment,
    asked: u64,
    in_flight: bool,
}

impl Polls {
    pub(super) fn add(&mut self, poll: Poll, now: Moment) {
        self.0.push(Beat { poll, start: now, due: now, asked: 0, in_flight: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the next question is due.
    pub(super) fn next_due(&self) -> Moment {
        self.0.iter().filter(|beat| !beat.in_flight).map(|beat| beat.due).min().unwrap_or(Moment::NEVER)
    }

    /// The next poll that is due: marks it as asked.
    pub(super) fn take_due(&mut self, now: Moment) -> Option<&Poll> {
        let beat = self.0.iter_mut().find(|beat| !beat.in_flight && beat.due <= now)?;
        beat.in_flight = true;
        beat.asked += 1;
        Some(&beat.poll)
    }

    /// One question got its verdict. A poll that has all it wanted, or may not go on, ends.
    pub(super) fn answered(&mut self, id: u64, verdict: Verdict, now: Moment, comes_back: bool) {
        let Some(index) = self.0.iter().position(|beat| beat.poll.id == id) else { return };
        let Some(beat) = self.0.get_mut(index) else { return };
        beat.in_flight = false;
        beat.due = next_beat(beat.start, beat.due, beat.poll.every, now);
        let ending = match verdict {
            Ok(Answer::Message(heard, _)) => {
                let is_last = beat.poll.count.is_some_and(|count| beat.asked >= count);
                if is_last {
                    beat.poll.feed.push(heard)
                } else {
                    beat.poll.feed.push_reading(heard)
                }
                is_last.then_some(None)
            }
            Ok(_) => None,
            Err(error) if beat.poll.skip_errors && !is_final(&error, comes_back) => {
                beat.poll.count.is_some_and(|count| beat.asked >= count).then_some(None)
            }
            Err(error) => Some(Some(error)),
        };
        if let Some(ending) = ending {
            beat.poll.feed.end(ending);
            self.0.remove(index);
        }
    }

    /// Its reader has gone. Returns whether there was such a poll.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|beat| beat.poll.id != id);
        self.0.len() < before
    }

    /// The connection was lost, and will be back: who passes errors over goes on then. Gives the numbers of those that end.
    pub(super) fn tell(&mut self, error: impl Fn() -> LinkError) -> Vec<u64> {
        let mut ended = Vec::new();
        self.0.retain(|beat| {
            if !beat.poll.skip_errors {
                beat.poll.feed.end(Some(error()));
                ended.push(beat.poll.id);
            }
            beat.poll.skip_errors
        });
        ended
    }

    /// Those of others than the lifespan end.
    pub(super) fn make_way(&mut self, error: &LinkError) {
        self.0.retain(|beat| {
            let stays = beat.poll.asker != Asker::Anyone;
            if !stays {
                beat.poll.feed.end(Some(error.clone()));
            }
            stays
        });
    }

    pub(super) fn end(&mut self, error: impl Fn() -> LinkError) {
        for beat in self.0.drain(..) {
            beat.poll.feed.end(Some(error()));
        }
    }
}

fn is_final(error: &LinkError, comes_back: bool) -> bool {
    matches!(error, LinkError::Closed { .. }) || matches!(error, LinkError::Lost { .. }) && !comes_back
}

/// The first beat of the grid that is still to come: a slow answer loses beats, it does not shift them.
fn next_beat(start: Moment, due: Moment, every: Duration, now: Moment) -> Moment {
    if every.is_zero() {
        return now;
    }
    let next = due + every;
    if next >= now {
        return next;
    }
    let nanos = every.as_nanos();
    let beats = now.since(start).as_nanos().div_ceil(nanos);
    let offset = nanos.saturating_mul(beats);
    start + Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX))
}
