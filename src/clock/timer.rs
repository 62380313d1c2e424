//! One deadline that can be moved.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::still::lock;
use super::{Clock, Moment};

/// One deadline that can be moved. Setting the real one later than it is armed costs nothing: it fires early inside, and is armed anew.
#[derive(Debug)]
pub struct Timer {
    clock: Clock,
    deadline: Moment,
    armed: Option<Armed>,
}

#[derive(Debug)]
enum Armed {
    Real(Pin<Box<tokio::time::Sleep>>, Moment),
    Still((Moment, u64)),
}

impl Timer {
    pub(super) fn new(clock: Clock) -> Timer {
        Timer { clock, deadline: Moment::NEVER, armed: None }
    }

    /// Moves the deadline. [`Moment::NEVER`] disarms it.
    pub fn set(&mut self, deadline: Moment) {
        if deadline == self.deadline {
            return;
        }
        self.deadline = deadline;
        if matches!(self.armed, Some(Armed::Still(_))) {
            self.disarm();
        }
    }

    /// Ready once the deadline has passed; stays ready until it is moved.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline == Moment::NEVER {
            return Poll::Pending;
        }
        if self.clock.still().is_none() {
            return self.poll_real(cx);
        }
        let mut still = lock(&self.clock.0.still);
        let forgotten = match self.armed.take() {
            Some(Armed::Still(key)) => still.forget(key),
            _ => None,
        };
        let expired = still.now >= self.deadline;
        if !expired {
            self.armed = Some(Armed::Still(still.wake_at(self.deadline, cx.waker().clone())));
        }
        drop(still);
        // Outside the lock: whose it is may end with it.
        drop(forgotten);
        if expired { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_real(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // An earlier alarm is left as it is: most deadlines move on long before they come.
            if let Some(Armed::Real(sleep, at)) = &mut self.armed
                && *at <= self.deadline
            {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.clock.now() >= self.deadline {
                    return Poll::Ready(());
                }
            }
            let now = self.clock.now();
            if now >= self.deadline {
                return Poll::Ready(());
            }
            let wake = tokio::time::Instant::now() + self.deadline.since(now).min(FAR);
            match &mut self.armed {
                Some(Armed::Real(sleep, at)) => {
                    sleep.as_mut().reset(wake);
                    *at = self.deadline;
                }
                _ => self.armed = Some(Armed::Real(Box::pin(tokio::time::sleep_until(wake)), self.deadline)),
            }
        }
    }

    /// When the task that polled last is woken, whatever the deadline has become since.
    pub fn alarm(&self) -> Moment {
        match &self.armed {
            Some(Armed::Real(sleep, at)) if !sleep.is_elapsed() => *at,
            Some(Armed::Still((at, _))) => *at,
            _ => Moment::NEVER,
        }
    }

    fn disarm(&mut self) {
        if let Some(Armed::Still(key)) = self.armed.take() {
            let forgotten = lock(&self.clock.0.still).forget(key);
            drop(forgotten);
        }
    }
}

/// tokio's timers reach about two years; ours are armed anew when they fire early.
const FAR: Duration = Duration::from_secs(86_400);

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}
