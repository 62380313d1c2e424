//! The model of `tests/channel.rs`: what lies in a channel, who offers, who waits.

use std::collections::{BTreeMap, BTreeSet};

/// What stands in the real thing's book, written down the plain way. Items are numbered in the order in which they were offered.
#[derive(Default)]
pub(super) struct Model {
    pub(super) capacity: usize,
    pub(super) lies: BTreeSet<usize>,
    pub(super) offered: BTreeSet<usize>,
    /// Receivers that wait, by the order in which they were made, and what each was given.
    pub(super) waits: BTreeMap<usize, Option<usize>>,
    pub(super) senders: usize,
    pub(super) owners: BTreeSet<usize>,
    pub(super) ended: bool,
    pub(super) received: Vec<usize>,
    pub(super) taken_back: BTreeSet<usize>,
}

impl Model {
    /// Whoever waits is given the oldest, room goes to the oldest offer.
    pub(super) fn settle(&mut self) {
        loop {
            let hungry = self.waits.iter().find(|(_, given)| given.is_none()).map(|(wait, _)| *wait);
            if let Some(wait) = hungry
                && let Some(item) = self.lies.pop_first().or_else(|| self.offered.pop_first())
            {
                self.waits.insert(wait, Some(item));
            } else if self.lies.len() < self.capacity
                && let Some(item) = self.offered.pop_first()
            {
                self.lies.insert(item);
            } else {
                return;
            }
        }
    }

    pub(super) fn room(&self) -> bool {
        let hungry = self.waits.values().any(Option::is_none);
        self.offered.is_empty() && (self.lies.len() < self.capacity || self.lies.is_empty() && hungry)
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended && self.lies.is_empty() && self.offered.is_empty()
    }

    /// What a receive is told now, if it need not wait.
    pub(super) fn next(&mut self) -> Option<Result<usize, ()>> {
        match self.lies.pop_first().or_else(|| self.offered.pop_first()) {
            Some(item) => {
                self.received.push(item);
                self.settle();
                Some(Ok(item))
            }
            None => self.ended.then_some(Err(())),
        }
    }

    pub(super) fn end_if_nobody_sends(&mut self) {
        self.ended |= self.senders == 0 && self.owners.is_empty();
    }

    pub(super) fn is_in(&self, item: usize) -> bool {
        !self.offered.contains(&item)
    }
}
