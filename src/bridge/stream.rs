//! Subscriptions and polls on the Python side: where an iterator fetches its batches.

use std::sync::Arc;

use pyo3::prelude::*;

use super::label::Label;
use super::operation::Operation;
use super::work::Work;
use crate::lifecycle;
use crate::link::feed::Feed;
use crate::link::job::Request;
use crate::link::ticket::next_id;
use crate::link::{Held, Tether};

/// Ends with its last reference.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Stream {
    pub(super) id: u64,
    pub(super) feed: Arc<Feed>,
    tether: Arc<Tether>,
    what: Label,
    text: bool,
}

impl Stream {
    pub(super) fn new(tether: Arc<Tether>, capacity: usize, what: Label, text: bool) -> Stream {
        Stream { id: next_id(), feed: Feed::new(capacity), tether, what, text }
    }

    fn end(&self) {
        self.feed.end(None);
        if let Some(engine) = lifecycle::started() {
            // A closed link has ended its feeds already.
            let _ = self.tether.0.tell(Request::Unsubscribe(self.id), engine.clock());
        }
    }
}

#[pymethods]
impl Stream {
    /// The next batch: ([(body, epoch, monotonic), ...] or None at the end, messages dropped so far).
    fn next(&self) -> Operation {
        let (feed, tether) = (self.feed.clone(), self.tether.clone());
        Operation::new(
            self.what.clone(),
            self.text,
            Box::new(move || Ok(Box::new(Held { pending: feed.next(), tether }) as Box<dyn Work>)),
        )
    }

    /// Nothing more is wanted. What is already there can still be fetched.
    fn close(&self) {
        self.end();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}
