//! How an instrument in service speaks: what is due, in its time, through the faults, to the wire.

use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::{LAST_WORDS, LOOK, Service};
use crate::clock::Moment;
use crate::simulate::faults::Happening;
use crate::simulate::served::lock;
use crate::simulate::wire::Direction;
use crate::simulate::{Deed, Instrument, Say};

/// The most pieces of what was said that are remembered for looking at what of it nobody has read.
const SAID: usize = 4096;

impl<I: Instrument> Service<I> {
    /// When there is something to say next, of its own accord or as promised.
    pub(super) fn next_moment(&self) -> Moment {
        let promised = self.due.first_key_value().map(|(&(due, _), _)| due);
        let on_the_way = self.on_the_way.first_key_value().map(|(&(due, _), _)| due);
        self.wakes_at().into_iter().chain(promised).chain(on_the_way).min().unwrap_or(Moment::NEVER)
    }

    fn wakes_at(&self) -> Option<Moment> {
        self.instrument.wakes_at().map(|uptime| self.started + uptime)
    }

    /// Says all that is due by `now`, each thing in its time however late we are, and tells the instrument that it is
    /// `now`.
    pub(super) fn speak_until(&mut self, now: Moment) {
        let mut last = None;
        loop {
            let next = self.next_moment();
            if next > now {
                break;
            }
            if last.replace(next).is_some_and(|last| last != next) {
                // A piece with a time of its own goes out by itself, so that a host can read it by itself.
                self.write_now();
            }
            if self.wakes_at() == Some(next) {
                self.wake(next);
            } else if self.on_the_way.first_key_value().is_some_and(|(&(due, _), _)| due == next) {
                if let Some((_, (deed, asked))) = self.on_the_way.pop_first() {
                    self.perform(deed, asked);
                }
            } else if let Some(((due, _), (deed, asked))) = self.due.pop_first() {
                self.attempt(due, deed, asked);
            }
        }
        self.wake(now);
    }

    /// What it says on waking it was asked for before anything that is promised for the same moment, so it goes out
    /// at once.
    fn wake(&mut self, now: Moment) {
        for say in self.instrument.wake(now.since(self.started)) {
            if say.after.is_zero() {
                self.attempt(now, say.what, say.asked);
            } else {
                self.plan(now, [say]);
            }
        }
    }

    pub(super) fn plan(&mut self, now: Moment, says: impl IntoIterator<Item = Say>) {
        for say in says {
            self.due.insert((now + say.after, self.asked), (say.what, say.asked));
            self.asked += 1;
        }
    }

    /// Does what it does, as far as the faults let it.
    fn attempt(&mut self, at: Moment, deed: Deed, asked: bool) {
        let Deed::Bytes(bytes) = &deed else { return self.perform(deed, asked) };
        let happenings = self.faults.say(at.since(self.started), bytes);
        self.happen(at, happenings, asked);
    }

    pub(super) fn happen(&mut self, now: Moment, happenings: Vec<Happening>, asked: bool) {
        for happening in happenings {
            let (at, deed) = match happening {
                Happening::Bytes { at, bytes } => (at, Deed::Bytes(bytes)),
                Happening::Disconnect { at } => (at, Deed::Unplug),
                Happening::Reconnect { at } => (at, Deed::Plug),
            };
            let at = self.started + at;
            if at <= now && self.on_the_way.is_empty() {
                self.perform(deed, asked);
            } else {
                self.on_the_way.insert((at, self.asked), (deed, asked));
                self.asked += 1;
            }
        }
    }

    fn perform(&mut self, deed: Deed, asked: bool) {
        match deed {
            Deed::Bytes(bytes) => self.say(&bytes, asked),
            Deed::Unplug => self.come_off(),
            Deed::Plug => {
                if self.coming_off.is_some() {
                    self.pull();
                }
                self.plug();
            }
        }
    }

    /// Pulls the cable once the host has read what was said before: a pseudo-terminal that is hung up loses what is
    /// still in it. A host that does not read is not waited for for long.
    fn come_off(&mut self) {
        self.write_now();
        let now = self.clock.now();
        let until = *self.coming_off.get_or_insert(now + LAST_WORDS);
        if now < until && self.pipe.as_ref().is_some_and(|pipe| pipe.unread() > 0) {
            self.on_the_way.insert((now + LOOK, self.asked), (Deed::Unplug, false));
            self.asked += 1;
        } else {
            self.pull();
        }
    }

    fn say(&mut self, bytes: &Bytes, asked: bool) {
        let no_room = self.output.len().saturating_add(bytes.len()) > self.instrument.most_unread();
        if self.pipe.is_none() || self.coming_off.is_some() || no_room || bytes.is_empty() {
            return;
        }
        lock(&self.shared).log(self.clock.stamp(), Direction::Said, bytes);
        self.output.extend_from_slice(bytes);
        self.said.push_front((bytes.clone(), asked));
        self.said.truncate(SAID);
    }

    /// Answers that code of the user's own had to think about.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, now: Moment) {
        while self.pondering.is_some() {
            let Poll::Ready(says) = self.instrument.poll_answer(cx) else { return };
            self.pondering = None;
            self.plan(now, says);
            self.hear(now, false);
            self.speak_until(now);
        }
    }

    pub(super) fn write_now(&mut self) {
        self.write(&mut Context::from_waker(Waker::noop()));
    }

    pub(super) fn write(&mut self, cx: &mut Context<'_>) {
        while let Some(pipe) = &mut self.pipe
            && !self.output.is_empty()
        {
            match pipe.poll_write(cx, &self.output) {
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(_gone)) => self.hang_up(),
                Poll::Pending => return,
            }
        }
    }
}
