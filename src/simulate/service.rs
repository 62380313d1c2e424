//! Puts a simulated instrument on one end of a pipe: the only part of `simulate` that does I/O and knows the time.
//! What is said is never decided here.
//!
//! # Invariants
//! 1. What is said goes out in the order of its due times; of two with the same, what was asked for first.
//! 2. The instrument hears a command only after all that was due by then has gone out.
//! 3. The instrument outlives its wire: what comes due while it is unplugged is lost, and everything else goes on.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use super::{Instrument, Say};
use crate::clock::{Clock, Moment, Timer};
use crate::framing::Framing;
use crate::transport::Transport;

/// The most commands that are remembered; then the oldest go.
const HEARD: usize = 10_000;

/// The most bytes that wait for a host that does not read; what is said beyond is lost, as in any instrument.
const UNREAD: usize = 65_536;

/// How often one poll goes round, so that a host that never stops talking does not keep everyone else waiting.
const ROUNDS: usize = 32;

/// Lets `instrument` speak and hear on `pipe`, its side of the wire, whose closing must not block. It has been on for
/// a while: nothing is said until something is heard.
///
/// The future ends when it is told to [`stop`](Served::stop), or when both its handle and its wire have gone. It does
/// not spawn.
pub fn serve(
    instrument: impl Instrument + 'static,
    pipe: Box<dyn Transport>,
    clock: Clock,
) -> (Served, impl Future<Output = ()> + Send + 'static) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let served = Served { shared: Arc::clone(&shared), clock: clock.clone() };
    let mut service = Service {
        framing: instrument.framing(),
        instrument,
        started: clock.now(),
        timer: clock.timer(),
        clock,
        shared,
        pipe: Some(pipe),
        received: BytesMut::new(),
        due: BTreeMap::new(),
        asked: 0,
        output: BytesMut::new(),
    };
    (served, async move { poll_fn(|cx| service.poll(cx)).await })
}

/// The handle on an instrument that is being served. Letting go of it stops nothing.
pub struct Served {
    shared: Arc<Mutex<Shared>>,
    clock: Clock,
}

#[derive(Default)]
struct Shared {
    heard: VecDeque<Bytes>,
    orders: VecDeque<Order>,
    waker: Option<Waker>,
    abandoned: bool,
}

enum Order {
    Stop,
    Disconnect,
    Reconnect(Box<dyn Transport>),
    PowerCycle,
}

impl Served {
    /// The commands it has heard, without their terminators, oldest first; the last ten thousand of them.
    pub fn heard(&self) -> Vec<Bytes> {
        lock(&self.shared).heard.iter().cloned().collect()
    }

    /// Ends its service and closes its side of the pipe. What it had yet to say is not said.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Pulls the cable: its side of the pipe is closed. The instrument itself goes on, and does not notice.
    pub fn disconnect(&self) {
        self.order(Order::Disconnect);
    }

    /// Plugs in another cable, in place of the present one if there is any.
    pub fn reconnect(&self, pipe: Box<dyn Transport>) {
        self.order(Order::Reconnect(pipe));
    }

    /// Switches it off and on again: what it had yet to say is not said, but what it says when it comes up.
    pub fn power_cycle(&self) {
        self.order(Order::PowerCycle);
    }

    fn order(&self, order: Order) {
        let mut shared = lock(&self.shared);
        shared.orders.push_back(order);
        wake(shared, &self.clock);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.abandoned = true;
        wake(shared, &self.clock);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(mut shared: MutexGuard<'_, Shared>, clock: &Clock) {
    let waker = shared.waker.take();
    drop(shared);
    clock.stir();
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Service<I> {
    instrument: I,
    framing: Framing,
    clock: Clock,
    started: Moment,
    timer: Timer,
    shared: Arc<Mutex<Shared>>,
    pipe: Option<Box<dyn Transport>>,
    received: BytesMut,
    /// What is still to be said, by due time and order of asking.
    due: BTreeMap<(Moment, u64), Bytes>,
    asked: u64,
    /// What has been said, and the pipe has not taken yet.
    output: BytesMut,
}

impl<I: Instrument> Service<I> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.shared).waker = Some(cx.waker().clone());
        for _ in 0..ROUNDS {
            if self.obey() == Obeyed::Stopped {
                self.unplug();
                return Poll::Ready(());
            }
            let now = self.clock.now();
            self.speak_until(now);
            self.write(cx);
            if self.read(cx, now) {
                continue;
            }
            if self.pipe.is_none() && lock(&self.shared).abandoned {
                return Poll::Ready(());
            }
            self.timer.set(self.next_moment());
            if self.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn obey(&mut self) -> Obeyed {
        loop {
            let order = lock(&self.shared).orders.pop_front();
            match order {
                None => return Obeyed::All,
                Some(Order::Stop) => return Obeyed::Stopped,
                Some(Order::Disconnect) => self.unplug(),
                Some(Order::Reconnect(pipe)) => {
                    self.unplug();
                    self.pipe = Some(pipe);
                }
                Some(Order::PowerCycle) => {
                    let now = self.clock.now();
                    self.speak_until(now);
                    self.due.clear();
                    let says = self.instrument.power_on();
                    self.plan(now, says);
                }
            }
        }
    }

    fn unplug(&mut self) {
        self.received.clear();
        self.output.clear();
        if let Some(pipe) = self.pipe.take() {
            pipe.close();
        }
    }

    /// When there is something to say next, of its own accord or as promised.
    fn next_moment(&self) -> Moment {
        let promised = self.due.first_key_value().map(|(&(due, _), _)| due);
        self.wakes_at().into_iter().chain(promised).min().unwrap_or(Moment::NEVER)
    }

    fn wakes_at(&self) -> Option<Moment> {
        self.instrument.wakes_at().map(|uptime| self.started + uptime)
    }

    /// Says all that is due by `now`, each thing in its time however late we are, and tells the instrument that it is
    /// `now`.
    fn speak_until(&mut self, now: Moment) {
        loop {
            let next = self.next_moment();
            if next > now {
                break;
            }
            if self.wakes_at() == Some(next) {
                self.wake(next);
            } else if let Some((_, bytes)) = self.due.pop_first() {
                self.say(&bytes);
            }
        }
        self.wake(now);
    }

    /// What it says on waking it was asked for before anything that is promised for the same moment, so it goes out
    /// at once.
    fn wake(&mut self, now: Moment) {
        for say in self.instrument.wake(now.since(self.started)) {
            if say.after.is_zero() {
                self.say(&say.bytes);
            } else {
                self.plan(now, [say]);
            }
        }
    }

    fn plan(&mut self, now: Moment, says: impl IntoIterator<Item = Say>) {
        for say in says {
            self.due.insert((now + say.after, self.asked), say.bytes);
            self.asked += 1;
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        if self.pipe.is_some() && self.output.len() + bytes.len() <= UNREAD {
            self.output.extend_from_slice(bytes);
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        while let Some(pipe) = &mut self.pipe
            && !self.output.is_empty()
        {
            match pipe.poll_write(cx, &self.output) {
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(_gone)) => self.unplug(),
                Poll::Pending => return,
            }
        }
    }

    /// Whether anything came: it is taken to have come `now`, when all that was due has been said.
    fn read(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        match pipe.poll_read(cx, &mut self.received) {
            Poll::Ready(Ok(_)) => {
                self.hear(now);
                true
            }
            Poll::Ready(Err(_gone)) => {
                self.unplug();
                false
            }
            Poll::Pending => false,
        }
    }

    fn hear(&mut self, now: Moment) {
        loop {
            let command = match self.framing.take(&mut self.received) {
                Ok(Some(command)) => command,
                Ok(None) => return,
                // Noise: an instrument has no one to complain to.
                Err(_noise) => continue,
            };
            // The commands before it in the same read may have made something due at once.
            self.speak_until(now);
            self.remember(&command);
            let says = self.instrument.hear(&command);
            self.plan(now, says);
        }
    }

    fn remember(&self, command: &[u8]) {
        let mut shared = lock(&self.shared);
        if shared.heard.len() >= HEARD {
            shared.heard.pop_front();
        }
        // A copy, which does not hold on to the buffer it came in.
        shared.heard.push_back(Bytes::copy_from_slice(command));
    }
}

#[derive(PartialEq, Eq)]
enum Obeyed {
    All,
    Stopped,
}
