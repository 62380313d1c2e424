//! Frames on their way out, in order. Pure: it says what to write next and learns how much of it went; the actor writes.
//!
//! # Invariants
//! 1. A frame that was begun is written whole before the next, unless an urgent one cuts it.
//! 2. A frame not one byte of which was written can be taken back as if it had never been asked for.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::job::{Job, What};
use crate::clock::Moment;

/// How long an urgent frame waits for the one being written before it cuts it. Half of the 50 ms an abort may take; the rest is the line's.
pub(super) const BEFORE_CUTTING: Duration = Duration::from_millis(20);

/// All of it within the 50 ms.
const MOST_CUTS: u8 = 5;
const BETWEEN_CUTS: Duration = Duration::from_millis(4);

/// A send on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) job: Job,
    pub(super) deadline: Moment,
    pub(super) started: Option<Moment>,
}

/// Whose frame it is.
#[derive(Debug)]
pub(super) enum Owner {
    /// A send or a raw write, which is done when its frame is.
    Send(Box<Sending>),
    /// The query with this number.
    Query(u64),
    /// The resync command.
    Resync,
    /// The abort that has the line.
    Abort,
    /// Its asker has left after it was begun.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) rest: Bytes,
    pub(super) whole: usize,
    pub(super) owner: Owner,
    pub(super) urgent: bool,
    /// What it is, whole, and what it says: for its echo, whoever has left meanwhile.
    pub(super) said: Option<(Bytes, Bytes)>,
}

impl Frame {
    pub(super) fn new(bytes: Bytes, owner: Owner) -> Frame {
        Frame { whole: bytes.len(), rest: bytes, owner, urgent: false, said: None }
    }

    /// It says `command`, and may be echoed.
    pub(super) fn saying(self, command: &Bytes) -> Frame {
        Frame { said: Some((self.rest.clone(), command.clone())), ..self }
    }

    pub(super) fn is_begun(&self) -> bool {
        self.rest.len() < self.whole
    }

    pub(super) fn is_raw(&self) -> bool {
        matches!(&self.owner, Owner::Send(sending) if matches!(sending.job.what, What::Send { raw: true, .. }))
    }

    fn id(&self) -> Option<u64> {
        match &self.owner {
            Owner::Send(sending) => Some(sending.job.id),
            Owner::Query(id) => Some(*id),
            Owner::Resync | Owner::Abort | Owner::Nobody => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Output {
    frames: VecDeque<Frame>,
    /// When the line is cleared for an urgent frame not one byte of which could be written.
    cut_at: Option<Moment>,
    /// How often it was, for that frame.
    cuts: u8,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Frame> {
        self.frames.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Frame> {
        self.frames.front_mut()
    }

    /// A send whose deadline has passed.
    pub(super) fn overdue(&self, now: Moment) -> Option<u64> {
        self.sends().find(|sending| sending.deadline <= now).map(|sending| sending.job.id)
    }

    /// When the next send is overdue.
    pub(super) fn next_deadline(&self) -> Moment {
        self.sends().map(|sending| sending.deadline).min().unwrap_or(Moment::NEVER)
    }

    fn sends(&self) -> impl Iterator<Item = &Sending> {
        self.frames.iter().filter_map(|frame| match &frame.owner {
            Owner::Send(sending) => Some(&**sending),
            _ => None,
        })
    }

    /// Sends of which nothing was written yet.
    pub(super) fn not_begun(&mut self) -> impl Iterator<Item = &mut Sending> {
        let sends = self.frames.iter_mut().filter_map(|frame| match &mut frame.owner {
            Owner::Send(sending) => Some(&mut **sending),
            _ => None,
        });
        sends.filter(|sending| sending.started.is_none())
    }

    /// The sends that wait for the line, and are not urgent.
    pub(super) fn take_waiting(&mut self, is_it: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for frame in std::mem::take(&mut self.frames) {
            let waits = !frame.urgent && !frame.is_begun();
            match frame.owner {
                Owner::Send(sending) if waits && is_it(&sending.job) => taken.push(sending.job),
                owner => self.frames.push_back(Frame { owner, ..frame }),
            }
        }
        taken
    }

    /// What was to go before everything else, but for what somebody sends.
    pub(super) fn aborts(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(|frame| frame.urgent && !matches!(frame.owner, Owner::Send(_)))
    }

    /// Whether a frame is on its way out whose asker has left.
    pub(super) fn has_orphan(&self) -> bool {
        self.frames.iter().any(|frame| matches!(frame.owner, Owner::Nobody))
    }

    /// Whether a send of exchange `talk` was begun.
    pub(super) fn is_sending(&self, talk: u64) -> bool {
        self.sends().any(|sending| sending.job.talk == Some(talk) && sending.started.is_some())
    }

    /// The sends of exchange `talk`.
    pub(super) fn of_talk(&self, talk: u64) -> Vec<u64> {
        self.sends().filter(|sending| sending.job.talk == Some(talk)).map(|sending| sending.job.id).collect()
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }

    /// Puts it before everything that was not begun, behind earlier urgent ones.
    pub(super) fn push_urgent(&mut self, frame: Frame, now: Moment) {
        let place = self.frames.iter().take_while(|frame| frame.is_begun() || frame.urgent).count();
        self.frames.insert(place, Frame { urgent: true, ..frame });
        self.cut_at.get_or_insert(now + BEFORE_CUTTING);
    }

    /// When the line is to be cleared for an urgent frame.
    pub(super) fn cut_at(&self) -> Moment {
        self.cut_at.unwrap_or(Moment::NEVER)
    }

    /// An urgent frame has waited long enough: takes out what stands before it, if it was begun. The actor then discards what the kernel
    /// holds. A pseudo-terminal may have taken some more in that very instant, and be full again: so it is tried a few times.
    pub(super) fn cut(&mut self, now: Moment) -> Option<Frame> {
        self.cuts = self.cuts.saturating_add(1);
        self.cut_at = (self.cuts < MOST_CUTS).then(|| now + BETWEEN_CUTS);
        let in_the_way = self.frames.front().is_some_and(|front| front.is_begun() && !front.urgent);
        if in_the_way { self.frames.pop_front() } else { None }
    }

    /// `n` bytes of the front frame went. Gives that frame back once it is whole.
    pub(super) fn wrote(&mut self, n: usize) -> Option<Frame> {
        let front = self.frames.front_mut()?;
        front.rest.advance(n.min(front.rest.len()));
        if front.urgent {
            // The line moves: what is behind it needs no cutting, and its own bytes must not be discarded.
            (self.cut_at, self.cuts) = (None, 0);
        }
        if front.rest.is_empty() { self.frames.pop_front() } else { None }
    }

    /// Takes out the frame of job `id` if it was not begun. A begun one is left, as nobody's, and its owner given back.
    pub(super) fn withdraw(&mut self, id: u64) -> Option<(Owner, bool)> {
        let index = self.frames.iter().position(|frame| frame.id() == Some(id))?;
        let frame = self.frames.get_mut(index)?;
        let begun = frame.is_begun();
        if begun && !frame.is_raw() {
            return Some((std::mem::replace(&mut frame.owner, Owner::Nobody), true));
        }
        // Raw bytes have no frame to keep whole: what has not gone does not go.
        let frame = self.frames.remove(index)?;
        if !self.frames.iter().any(|frame| frame.urgent) {
            self.no_more_cuts();
        }
        Some((frame.owner, begun))
    }

    /// The abort is given up: not one byte of it may follow, unless some did.
    pub(super) fn forget_abort(&mut self) {
        for frame in &mut self.frames {
            if matches!(frame.owner, Owner::Abort) && frame.is_begun() {
                frame.owner = Owner::Nobody;
            }
        }
        self.frames.retain(|frame| !matches!(frame.owner, Owner::Abort));
        if !self.frames.iter().any(|frame| frame.urgent) {
            self.no_more_cuts();
        }
    }

    fn no_more_cuts(&mut self) {
        (self.cut_at, self.cuts) = (None, 0);
    }

    pub(super) fn clear(&mut self) -> impl Iterator<Item = Frame> {
        self.no_more_cuts();
        std::mem::take(&mut self.frames).into_iter()
    }
}
