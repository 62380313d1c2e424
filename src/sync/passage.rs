//! What passes through a channel, seen from its ends: a sender, an item on its way in, a wait for the next one out.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::Trouble;
use super::channel::{Channel, Receiving, wake};

/// Keeps a channel open; closed when it is dropped.
pub struct Sender<T: Send + 'static> {
    pub(super) channel: Arc<Channel<T>>,
    pub(super) id: u64,
}

impl<T: Send + 'static> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.channel.state();
        state.senders.remove(&self.id);
        state.end_if_nobody_sends();
        let wakers = state.move_on(self.channel.capacity());
        drop(state);
        wake(wakers);
    }
}

/// An item on its way in.
pub struct Sending<T: Send + 'static> {
    pub(super) channel: Arc<Channel<T>>,
    /// `None`: it is in.
    pub(super) number: Option<u64>,
}

impl<T: Send + 'static> Sending<T> {
    /// Ready once the item is in.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(number) = self.number else { return Poll::Ready(()) };
        let mut state = self.channel.state();
        match state.sending.get_mut(&number) {
            Some((_, waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => {
                drop(state);
                self.number = None;
                Poll::Ready(())
            }
        }
    }

    /// Takes the item back, if nobody has received it.
    pub fn take_back(&mut self) -> Option<T> {
        let number = self.number.take()?;
        let mut state = self.channel.state();
        let item = match state.sending.remove(&number) {
            Some((item, _)) => Some(item),
            None => state.items.remove(&number).inspect(|_| state.counts.sent -= 1),
        };
        let wakers = state.move_on(self.channel.capacity());
        drop(state);
        wake(wakers);
        item
    }
}

impl<T: Send + 'static> Drop for Sending<T> {
    fn drop(&mut self) {
        drop(self.take_back());
    }
}

/// A wait for an item.
pub struct Receive<T: Send + 'static> {
    pub(super) channel: Arc<Channel<T>>,
    pub(super) number: u64,
    pub(super) over: bool,
}

impl<T: Send + 'static> Receive<T> {
    /// Claims the item, or leaves `cx`'s waker to be woken. Not polled again after it was ready.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<T, Trouble>> {
        let mut state = self.channel.state();
        let known = state.receiving.get_mut(&self.number);
        if let Some(item) = known.and_then(|receiving| receiving.given.take()) {
            state.receiving.remove(&self.number);
            state.counts.received += 1;
            self.over = true;
            return Poll::Ready(Ok(item.1));
        }
        if state.receiving.values().all(|receiving| receiving.given.is_some()) {
            drop(state);
            match self.channel.receive_now() {
                Err(Trouble::Empty { .. }) => {}
                done => {
                    self.over = true;
                    self.channel.state().receiving.remove(&self.number);
                    return Poll::Ready(done);
                }
            }
            state = self.channel.state();
        } else if let Some(why) = state.ended.filter(|_| state.items.is_empty() && state.sending.is_empty()) {
            state.receiving.remove(&self.number);
            self.over = true;
            return Poll::Ready(Err(self.channel.closed(why)));
        }
        let waker = Some(cx.waker().clone());
        state.receiving.insert(self.number, Receiving { given: None, waker });
        // Between the look and the wait somebody may have sent.
        let wakers = state.move_on(self.channel.capacity());
        drop(state);
        wake(wakers);
        Poll::Pending
    }

    /// Gives the wait up; what it had been given goes back to its place in the order.
    pub fn cancel(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let mut state = self.channel.state();
        if let Some((number, item)) = state.receiving.remove(&self.number).and_then(|receiving| receiving.given) {
            state.items.insert(number, item);
        }
        let wakers = state.move_on(self.channel.capacity());
        drop(state);
        wake(wakers);
    }
}

impl<T: Send + 'static> Drop for Receive<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}
