//! How an instrument in service hears: who is let in, what came, and the commands in it.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::Service;
use crate::clock::Moment;
use crate::simulate::Instrument;
use crate::simulate::served::lock;
use crate::simulate::wire::Direction;

impl<I: Instrument> Service<I> {
    /// Whoever was there has gone.
    pub(super) fn hang_up(&mut self) {
        self.unplug();
        self.note("the host is gone");
    }

    /// Lets in who comes, if nobody is there. Whether anybody came.
    pub(super) fn let_in(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let Some(outside) = &mut self.outside else { return false };
        let Poll::Ready(host) = outside.poll_host(cx) else { return false };
        if self.faults.refuses() {
            host.close();
            self.note("a host was refused");
            return true;
        }
        if self.pipe.is_some() && !self.read_to_the_end(cx, now) {
            host.close();
            self.note("a second host was turned away");
            return true;
        }
        self.pipe = Some(host);
        self.note("a host has connected");
        let says = self.instrument.greet();
        self.plan(now, says);
        true
    }

    /// Hears what the host that is there has left to say; whether it is gone.
    fn read_to_the_end(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        while self.pipe.is_some() {
            if !self.read(cx, now) {
                break;
            }
        }
        self.pipe.is_none()
    }

    /// Whether anything came: it is taken to have come `now`, when all that was due has been said.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let before = self.received.len();
        match pipe.poll_read(cx, &mut self.received) {
            Poll::Ready(Ok(_)) => {
                self.came(before, now);
                true
            }
            Poll::Ready(Err(_gone)) => {
                self.hang_up();
                false
            }
            Poll::Pending => false,
        }
    }

    /// Hears what has come by now, of which the runtime may not know yet: who asks how things stand has written it before he asked.
    pub(super) fn catch_up(&mut self) {
        let now = self.clock.now();
        self.speak_until(now);
        let Some(pipe) = &mut self.pipe else { return };
        let before = self.received.len();
        // An end is met by the next read.
        if pipe.read_now(&mut self.received).is_ok_and(|n| n > 0) {
            self.came(before, now);
        }
    }

    fn came(&mut self, before: usize, now: Moment) {
        let came = Bytes::copy_from_slice(self.received.get(before..).unwrap_or_default());
        lock(&self.shared).log(self.clock.stamp(), Direction::Heard, &came);
        let happenings = self.faults.hear(now.since(self.started), &came);
        self.happen(now, happenings, false);
        self.quiet_since = now;
        self.hear(now, false);
    }

    /// When silence will have made a command of what has come.
    pub(super) fn quiet_end(&self) -> Moment {
        match self.framing.quiet() {
            Some(span) if !self.received.is_empty() => self.quiet_since + span,
            _ => Moment::NEVER,
        }
    }

    pub(super) fn hear(&mut self, now: Moment, quiet: bool) {
        while self.pondering.is_none() {
            let cut = if quiet {
                self.framing.cut_quiet(&mut self.received).map(|cut| cut.map(|message| message.body))
            } else {
                self.framing.take(&mut self.received)
            };
            let command = match cut {
                Ok(Some(command)) => command,
                Ok(None) => {
                    if quiet {
                        self.quiet_since = Moment::NEVER;
                    }
                    return;
                }
                // Noise: an instrument has no one to complain to.
                Err(_noise) => continue,
            };
            // The commands before it in the same read may have made something due at once.
            self.speak_until(now);
            lock(&self.shared).remember(&command);
            let says = self.instrument.hear(&command);
            self.plan(now, says);
            if self.instrument.ponders() {
                self.pondering = Some(self.clock.busy());
            }
        }
    }
}
