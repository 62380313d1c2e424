//! How much may be written now: to a line that is slower than the machine, and to an instrument that is slower than its line.

use std::time::Duration;

use super::rules::Pacing;
use crate::clock::Moment;
use crate::transport::Transport;

/// How much output the kernel may hold, in line time.
const IN_KERNEL: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Pace {
    pub(super) speed: Option<f64>,
    /// When the kernel's queue is empty at the latest, if the line moves.
    pub(super) empty_at: Moment,
    /// When there may be room again.
    pub(super) retry_at: Moment,
    pacing: Pacing,
    /// When the next chunk may go.
    next_chunk: Moment,
}

impl Pace {
    pub(super) fn new(speed: Option<f64>, pacing: Pacing, now: Moment) -> Pace {
        Pace { speed, empty_at: now, retry_at: Moment::NEVER, pacing, next_chunk: now }
    }

    /// How many bytes may be written; where there are none, `retry_at` says when to ask again.
    pub(super) fn room(&mut self, now: Moment, pipe: &dyn Transport) -> usize {
        self.retry_at = Moment::NEVER;
        let room = self.of_line(now, pipe);
        if room == 0 {
            self.look_again(now);
        }
        if self.pacing.char_delay.is_zero() {
            return room;
        }
        if now < self.next_chunk {
            self.retry_at = self.next_chunk;
            return 0;
        }
        room.min(self.pacing.chunk)
    }

    fn of_line(&self, now: Moment, pipe: &dyn Transport) -> usize {
        let Some(speed) = self.speed else { return usize::MAX };
        let most = at_least_one(speed * IN_KERNEL.as_secs_f64());
        if now >= self.empty_at {
            return most;
        }
        most.saturating_sub(pipe.queued_output())
    }

    pub(super) fn look_again(&mut self, now: Moment) {
        self.retry_at = now + IN_KERNEL / 4;
    }

    /// Time has passed: what was to be tried again is tried again.
    pub(super) fn woken(&mut self, now: Moment) {
        if self.retry_at <= now {
            self.retry_at = Moment::NEVER;
        }
    }

    pub(super) fn wrote(&mut self, n: usize, now: Moment) {
        self.next_chunk = now + self.pacing.char_delay;
        if let Some(speed) = self.speed {
            #[expect(clippy::cast_precision_loss, reason = "a chunk of a few bytes")]
            let takes = Duration::from_secs_f64(n as f64 / speed.max(1.0));
            self.empty_at = self.empty_at.max(now) + takes;
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number, cut on purpose")]
fn at_least_one(bytes: f64) -> usize {
    bytes.max(1.0) as usize
}
