//! A channel: bounded, several senders and receivers, first come first served. It ends when it is closed, or when the scope of its last
//! sender has ended; what was sent before that can still be received.
//!
//! *Cancel safety*: a receive that is cancelled puts what it had been given back where it was in the order; a send that is cancelled takes
//! its item back unless somebody has received it, which it then says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::board::{Board, Tied};
use super::{Owner, Trouble};

/// See the module.
pub struct Channel<T> {
    name: Arc<str>,
    capacity: usize,
    board: Board,
    state: Mutex<State<T>>,
}

struct Receiving<T> {
    given: Option<(u64, T)>,
    waker: Option<Waker>,
}

struct State<T> {
    /// Numbers items, senders and waits alike.
    next: u64,
    /// In order of being sent.
    items: BTreeMap<u64, T>,
    /// Those that found no room: their items, under the numbers they are going to have.
    sending: BTreeMap<u64, (T, Option<Waker>)>,
    receiving: BTreeMap<u64, Receiving<T>>,
    /// Senders that were made on purpose.
    senders: BTreeSet<u64>,
    /// Tasks and threads that have sent, and live.
    owners: BTreeSet<Owner>,
    ended: Option<&'static str>,
    counts: Counts,
}

/// What has passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Items that were taken in, those taken back not counted.
    pub sent: u64,
    /// Items that were received.
    pub received: u64,
    /// The most that ever lay in it.
    pub peak: usize,
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// What lies in it.
    pub used: usize,
    /// Who may still send.
    pub senders: usize,
    /// How many wait for room.
    pub sending: usize,
    /// How many wait for an item.
    pub receiving: usize,
    /// Why it has ended, if it has.
    pub ended: Option<&'static str>,
    /// What has passed.
    pub counts: Counts,
}

const CLOSED: &str = "it was closed";
const NO_SENDERS: &str = "the scope of its last sender has ended";

impl<T> State<T> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Gives items to those that wait, and room to those that want to send. Who to wake.
    fn move_on(&mut self, capacity: usize) -> Vec<Waker> {
        let mut wakers = Vec::new();
        loop {
            let waiting = self.receiving.values_mut().find(|receiving| receiving.given.is_none());
            if let Some(receiving) = waiting {
                if let Some(item) = self.items.pop_first() {
                    receiving.given = Some(item);
                    wakers.extend(receiving.waker.take());
                    continue;
                }
                if let Some((number, (item, waker))) = self.sending.pop_first() {
                    self.items.insert(number, item);
                    self.counts.sent += 1;
                    wakers.extend(waker);
                    continue;
                }
            } else if self.items.len() < capacity
                && let Some((number, (item, waker))) = self.sending.pop_first()
            {
                self.items.insert(number, item);
                self.counts.sent += 1;
                wakers.extend(waker);
                continue;
            }
            break;
        }
        self.counts.peak = self.counts.peak.max(self.items.len());
        if self.ended.is_some() && self.items.is_empty() && self.sending.is_empty() {
            wakers.extend(self.receiving.values_mut().filter_map(|receiving| receiving.waker.take()));
        }
        wakers
    }

    fn end_if_nobody_sends(&mut self) {
        if self.senders.is_empty() && self.owners.is_empty() && self.ended.is_none() {
            self.ended = Some(NO_SENDERS);
        }
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl<T: Send + 'static> Channel<T> {
    /// A channel that holds `capacity` items; 0: an item is handed over when somebody receives it.
    pub fn new(board: &Board, name: &str, capacity: usize) -> Arc<Channel<T>> {
        let state = State {
            next: 0,
            items: BTreeMap::new(),
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            senders: BTreeSet::new(),
            owners: BTreeSet::new(),
            ended: None,
            counts: Counts::default(),
        };
        Arc::new(Channel { name: Arc::from(name), capacity, board: board.clone(), state: Mutex::new(state) })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self, why: &'static str) -> Trouble {
        Trouble::Closed { name: self.name.clone(), why }
    }

    /// The channel lasts at least until `owner` has ended. `None`: somebody who is no one's task, and keeps nothing open.
    fn note_sender(self: &Arc<Channel<T>>, owner: Option<Owner>) {
        if let Some(owner) = owner
            && self.state().owners.insert(owner)
        {
            let this: Weak<Channel<T>> = Arc::downgrade(self);
            self.board.tie(owner, this);
        }
    }

    /// A sender: the channel does not end while it is open.
    ///
    /// *Errors*: the channel has ended.
    pub fn sender(self: &Arc<Channel<T>>) -> Result<Sender<T>, Trouble> {
        let mut state = self.state();
        if let Some(why) = state.ended {
            return Err(self.closed(why));
        }
        let id = state.number();
        state.senders.insert(id);
        Ok(Sender { channel: self.clone(), id })
    }

    /// Sends now. `sender`: a sender sends it, and `owner` keeps nothing open.
    ///
    /// *Errors*: there is no room; the channel has ended. The item comes back with the error.
    pub fn send_now(self: &Arc<Channel<T>>, item: T, owner: Option<Owner>) -> Result<(), (T, Trouble)> {
        let mut state = self.state();
        if let Some(why) = state.ended {
            return Err((item, self.closed(why)));
        }
        let room = state.items.len() < self.capacity
            || state.receiving.values().any(|receiving| receiving.given.is_none()) && state.items.is_empty();
        if !room || !state.sending.is_empty() {
            return Err((item, Trouble::Full { name: self.name.clone(), capacity: self.capacity }));
        }
        let number = state.number();
        state.items.insert(number, item);
        state.counts.sent += 1;
        let wakers = state.move_on(self.capacity);
        drop(state);
        wake(wakers);
        self.note_sender(owner);
        Ok(())
    }

    /// Sends, now or when there is room.
    ///
    /// *Errors*: the channel has ended; the item comes back with the error.
    pub fn send(self: &Arc<Channel<T>>, item: T, owner: Option<Owner>) -> Result<Sending<T>, (T, Trouble)> {
        let number = match self.send_now(item, owner) {
            Ok(()) => None,
            Err((item, Trouble::Full { .. })) => {
                self.note_sender(owner);
                let mut state = self.state();
                let number = state.number();
                state.sending.insert(number, (item, None));
                let wakers = state.move_on(self.capacity);
                drop(state);
                wake(wakers);
                Some(number)
            }
            Err(ended) => return Err(ended),
        };
        Ok(Sending { channel: self.clone(), number })
    }

    /// Receives now.
    ///
    /// *Errors*: there is nothing; the channel has ended.
    pub fn receive_now(&self) -> Result<T, Trouble> {
        let mut state = self.state();
        // Those that wait come first, and have been given what there was.
        if let Some((_, item)) = state.items.pop_first() {
            state.counts.received += 1;
            let wakers = state.move_on(self.capacity);
            drop(state);
            wake(wakers);
            return Ok(item);
        }
        if let Some((_, (item, waker))) = state.sending.pop_first() {
            state.counts.sent += 1;
            state.counts.received += 1;
            drop(state);
            wake(waker.into_iter().collect());
            return Ok(item);
        }
        match state.ended {
            Some(why) => Err(self.closed(why)),
            None => Err(Trouble::Empty { name: self.name.clone() }),
        }
    }

    /// A wait for the next item.
    pub fn receive(self: &Arc<Channel<T>>) -> Receive<T> {
        let number = self.state().number();
        Receive { channel: self.clone(), number, over: false }
    }

    /// Nothing more can be sent; what there is can be received.
    pub fn close(&self) {
        let mut state = self.state();
        state.ended.get_or_insert(CLOSED);
        let wakers = state.move_on(self.capacity);
        drop(state);
        wake(wakers);
    }

    /// How things stand.
    pub fn view(&self) -> View {
        let state = self.state();
        View {
            used: state.items.len() + state.receiving.values().filter(|receiving| receiving.given.is_some()).count(),
            senders: state.senders.len() + state.owners.len(),
            sending: state.sending.len(),
            receiving: state.receiving.values().filter(|receiving| receiving.given.is_none()).count(),
            ended: state.ended,
            counts: state.counts,
        }
    }

    /// Looks at everything that lies in it.
    pub fn each(&self, mut look: impl FnMut(&T)) {
        let state = self.state();
        state.items.values().for_each(&mut look);
        state.sending.values().for_each(|(item, _)| look(item));
        state.receiving.values().filter_map(|receiving| receiving.given.as_ref()).for_each(|(_, item)| look(item));
    }

    /// Everything that lies in it, taken out unreceived.
    pub fn clear(&self) -> Vec<T> {
        let mut state = self.state();
        let items = std::mem::take(&mut state.items).into_values();
        let sending = std::mem::take(&mut state.sending).into_values().map(|(item, _)| item);
        items.chain(sending).collect()
    }
}

impl<T: Send + 'static> Tied for Channel<T> {
    fn owner_ended(&self, owner: Owner) {
        let mut state = self.state();
        state.owners.remove(&owner);
        state.end_if_nobody_sends();
        let wakers = state.move_on(self.capacity);
        drop(state);
        wake(wakers);
    }
}

/// Keeps a channel open; closed when it is dropped.
pub struct Sender<T: Send + 'static> {
    channel: Arc<Channel<T>>,
    id: u64,
}

impl<T: Send + 'static> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.channel.state();
        state.senders.remove(&self.id);
        state.end_if_nobody_sends();
        let wakers = state.move_on(self.channel.capacity);
        drop(state);
        wake(wakers);
    }
}

/// An item on its way in.
pub struct Sending<T: Send + 'static> {
    channel: Arc<Channel<T>>,
    /// `None`: it is in.
    number: Option<u64>,
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
        let wakers = state.move_on(self.channel.capacity);
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
    channel: Arc<Channel<T>>,
    number: u64,
    over: bool,
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
        let wakers = state.move_on(self.channel.capacity);
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
        let wakers = state.move_on(self.channel.capacity);
        drop(state);
        wake(wakers);
    }
}

impl<T: Send + 'static> Drop for Receive<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}
