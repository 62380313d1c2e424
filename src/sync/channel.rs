//! A channel: bounded, several senders and receivers, first come first served. It ends when it is closed, or when the scope of its last
//! sender has ended; what was sent before that can still be received.
//!
//! *Cancel safety*: a receive that is cancelled puts what it had been given back where it was in the order; a send that is cancelled takes
//! its item back unless somebody has received it, which it then says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;

use super::board::{Board, Tied};
use super::lock::{Mutex, MutexGuard};
pub use super::passage::{Receive, Sender, Sending};
use super::{Owner, Trouble};

/// See the module.
pub struct Channel<T> {
    name: Arc<str>,
    capacity: usize,
    board: Board,
    state: Mutex<State<T>>,
}

pub(super) struct Receiving<T> {
    pub(super) given: Option<(u64, T)>,
    pub(super) waker: Option<Waker>,
}

pub(super) struct State<T> {
    /// Numbers items, senders and waits alike.
    next: u64,
    /// In order of being sent.
    pub(super) items: BTreeMap<u64, T>,
    /// Those that found no room: their items, under the numbers they are going to have.
    pub(super) sending: BTreeMap<u64, (T, Option<Waker>)>,
    pub(super) receiving: BTreeMap<u64, Receiving<T>>,
    /// Senders that were made on purpose.
    pub(super) senders: BTreeSet<u64>,
    /// Tasks and threads that have sent, or tried to, and live.
    owners: BTreeSet<Owner>,
    pub(super) ended: Option<&'static str>,
    pub(super) counts: Counts,
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
    pub(super) fn move_on(&mut self, capacity: usize) -> Vec<Waker> {
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

    pub(super) fn end_if_nobody_sends(&mut self) {
        if self.senders.is_empty() && self.owners.is_empty() && self.ended.is_none() {
            self.ended = Some(NO_SENDERS);
        }
    }
}

pub(super) fn wake(wakers: Vec<Waker>) {
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

    pub(super) fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn closed(&self, why: &'static str) -> Trouble {
        Trouble::Closed { name: self.name.clone(), why }
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

    /// Sends now. The channel then lasts at least until `owner` has ended, also if there was no room; `None`: one who is no task, or a
    /// sender, keeps nothing open.
    ///
    /// *Errors*: there is no room; the channel has ended. The item comes back with the error.
    pub fn send_now(self: &Arc<Channel<T>>, item: T, owner: Option<Owner>) -> Result<(), (T, Trouble)> {
        self.put(item, owner, false).map(|_| ())
    }

    /// Sends, now or when there is room.
    ///
    /// *Errors*: the channel has ended; the item comes back with the error.
    pub fn send(self: &Arc<Channel<T>>, item: T, owner: Option<Owner>) -> Result<Sending<T>, (T, Trouble)> {
        let number = self.put(item, owner, true)?;
        Ok(Sending { channel: self.clone(), number })
    }

    /// In one step, so that nobody closes or drains it between the look and the deed. The number of an item that waits for room.
    /// Who found no room is a sender too: it will try again, and must not find the channel ended by another's end.
    fn put(self: &Arc<Channel<T>>, item: T, owner: Option<Owner>, wait: bool) -> Result<Option<u64>, (T, Trouble)> {
        let mut state = self.state();
        if let Some(why) = state.ended {
            return Err((item, self.closed(why)));
        }
        let awaited = || state.receiving.values().any(|receiving| receiving.given.is_none()) && state.items.is_empty();
        let room = state.sending.is_empty() && (state.items.len() < self.capacity || awaited());
        let newcomer = owner.filter(|owner| state.owners.insert(*owner));
        let mut wakers = Vec::new();
        let put = if room || wait {
            let number = state.number();
            if room {
                state.items.insert(number, item);
                state.counts.sent += 1;
            } else {
                state.sending.insert(number, (item, None));
            }
            wakers = state.move_on(self.capacity);
            Ok((!room).then_some(number))
        } else {
            Err((item, Trouble::Full { name: self.name.clone(), capacity: self.capacity }))
        };
        drop(state);
        wake(wakers);
        if let Some(owner) = newcomer {
            // It runs here, so it cannot end before this.
            let this: Weak<Channel<T>> = Arc::downgrade(self);
            self.board.tie(owner, this);
        }
        put
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
        let given: Vec<T> =
            state.receiving.values_mut().filter_map(|receiving| Some(receiving.given.take()?.1)).collect();
        items.chain(sending).chain(given).collect()
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
