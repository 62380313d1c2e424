//! Messages that no exchange claimed: to every subscription they match, else to `receive()`, else kept for it, up to a bound.

use std::collections::VecDeque;
use std::sync::Arc;

use regex::bytes::Regex;

use super::conversation::Waiting;
use super::feed::Feed;
use super::job::What;
use super::ticket::Heard;
use crate::error::LinkError;

/// How many are kept for a `receive()` that may never come; then the oldest is dropped and counted.
const KEPT: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Unasked {
    pub(super) receives: VecDeque<Waiting>,
    kept: VecDeque<Heard>,
    subscribers: Vec<(u64, Option<Regex>, Arc<Feed>)>,
}

impl Unasked {
    pub(super) fn subscribe(&mut self, id: u64, pattern: Option<Regex>, feed: Arc<Feed>) {
        self.subscribers.push((id, pattern, feed));
    }

    pub(super) fn unsubscribe(&mut self, id: u64) {
        self.subscribers.retain(|(subscriber, _, feed)| {
            if *subscriber == id {
                feed.end(None);
            }
            *subscriber != id
        });
    }

    /// Whether anybody waits or listens.
    pub(super) fn is_wanted(&self) -> bool {
        !self.receives.is_empty() || !self.subscribers.is_empty()
    }

    /// Takes one in. Returns whether an older one had to be dropped for it.
    pub(super) fn arrived(&mut self, heard: Heard) -> bool {
        let mut wanted = false;
        for (_, pattern, feed) in &self.subscribers {
            if pattern.as_ref().is_none_or(|pattern| pattern.is_match(&heard.body)) {
                feed.push(heard.clone());
                wanted = true;
            }
        }
        if wanted {
            return false;
        }
        self.kept.push_back(heard);
        let full = self.kept.len() > KEPT;
        if full {
            self.kept.pop_front();
        }
        full
    }

    /// The next `receive()` that can be served, with its message.
    pub(super) fn serve(&mut self) -> Option<(Waiting, Heard)> {
        let (index, place) = self.receives.iter().enumerate().find_map(|(index, waiting)| {
            let What::Receive { pattern, accept, .. } = &waiting.job.what else { return None };
            let fits = |pattern: &Option<Regex>, heard: &Heard| {
                pattern.as_ref().is_none_or(|pattern| pattern.is_match(&heard.body))
            };
            let wanted = |heard: &Heard| fits(accept, heard) && fits(pattern, heard);
            Some((index, self.kept.iter().position(wanted)?))
        })?;
        Some((self.receives.remove(index)?, self.kept.remove(place)?))
    }

    pub(super) fn put_back(&mut self, heard: Heard) {
        self.kept.push_front(heard);
    }

    pub(super) fn withdraw(&mut self, id: u64) -> Option<Waiting> {
        let index = self.receives.iter().position(|waiting| waiting.job.id == id)?;
        self.receives.remove(index)
    }

    /// Forgets what is kept; returns how many.
    pub(super) fn forget(&mut self) -> usize {
        std::mem::take(&mut self.kept).len()
    }

    /// Something that who listens has to know, and that does not end it.
    pub(super) fn tell(&mut self, error: impl Fn() -> LinkError) {
        for (_, _, feed) in &self.subscribers {
            feed.tell(error());
        }
    }

    pub(super) fn end(&mut self, error: impl Fn() -> LinkError) {
        for (_, _, feed) in self.subscribers.drain(..) {
            feed.end(Some(error()));
        }
    }
}
