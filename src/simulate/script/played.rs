//! A script at work: an instrument that its author may still write on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::Script;
use crate::framing::Framing;
use crate::simulate::{Instrument, Say};

/// A script that is played, and that its author may still write on.
#[derive(Clone)]
pub struct Played(Arc<Mutex<Script>>);

impl Played {
    /// Plays `script`.
    pub fn new(script: Script) -> Played {
        Played(Arc::new(Mutex::new(script)))
    }

    /// The script, to be read or written on. Nothing is heard meanwhile.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instrument for Played {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        self.script().answer(&Bytes::copy_from_slice(command))
    }

    fn framing(&self) -> Framing {
        self.script().framing.clone()
    }

    fn power_on(&mut self) -> Vec<Say> {
        let mut script = self.script();
        script.outbox.clear();
        script.thinking = None;
        let greeting = script.greeting.clone().into();
        let says = script.say_all(&Bytes::new(), Vec::new(), greeting);
        says.into_iter().map(Say::unasked).collect()
    }

    fn greet(&mut self) -> Vec<Say> {
        let mut script = self.script();
        let greeting = script.greeting.clone().into();
        let says = script.say_all(&Bytes::new(), Vec::new(), greeting);
        says.into_iter().map(Say::unasked).collect()
    }

    fn wakes_at(&self) -> Option<Duration> {
        let script = self.script();
        (!script.outbox.is_empty()).then_some(script.uptime)
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        let mut script = self.script();
        script.uptime = uptime;
        if let Some(busy) = &mut script.busy
            && let Some(lasts) = busy.lasts.take()
        {
            busy.until = Some(uptime + lasts);
        }
        std::mem::take(&mut script.outbox)
    }

    fn ponders(&self) -> bool {
        self.script().thinking.is_some()
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Say>> {
        let mut script = self.script();
        let Some(thinking) = script.thinking.take() else { return Poll::Ready(Vec::new()) };
        if let Some(part) = thinking.left.front() {
            part.attend(cx.waker());
        }
        let says = script.think(thinking);
        if script.thinking.is_none() {
            return Poll::Ready(says);
        }
        // What is known by now is said by now.
        script.outbox.extend(says);
        Poll::Pending
    }
}
