//! Puts a simulated instrument on its wire: the only part of `simulate` that does I/O and knows the time. What is said is never decided
//! here, where hosts come from is in `outside.rs`, and what damages it on its way in `faults.rs`.
//!
//! # Invariants
//! 1. What is said goes out in the order of its due times; of two with the same, what was asked for first.
//! 2. The instrument hears a command only after all that was due by then has gone out.
//! 3. The instrument outlives its wire: what comes due while it is unplugged is lost, and everything else goes on.

mod hearing;
mod speaking;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::faults::Faults;
use super::served::{Look, Order, Served, Shared, lock};
use super::{Deed, Instrument, Outside};
use crate::clock::{Busy, Clock, Moment, Timer};
use crate::framing::Framing;
use crate::transport::{HostSettings, Transport};

/// For how long a cable that comes off waits for the host to read what was said before, and how often it looks.
const LAST_WORDS: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(2);

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
    start(instrument, None, Some(pipe), Faults::new(Vec::new()), clock)
}

/// The same, with the hosts that come from `outside`, where it is plugged in, and with `faults` on the way. `pipe`: what plugging it in
/// gave.
pub fn serve_outside(
    instrument: impl Instrument + 'static,
    outside: Box<dyn Outside>,
    pipe: Option<Box<dyn Transport>>,
    faults: Faults,
    clock: Clock,
) -> (Served, impl Future<Output = ()> + Send + 'static) {
    start(instrument, Some(outside), pipe, faults, clock)
}

fn start(
    instrument: impl Instrument + 'static,
    outside: Option<Box<dyn Outside>>,
    pipe: Option<Box<dyn Transport>>,
    faults: Faults,
    clock: Clock,
) -> (Served, impl Future<Output = ()> + Send + 'static) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let served = Served::new(Arc::clone(&shared), clock.clone());
    let mut service = Service {
        framing: instrument.framing().fresh(),
        instrument,
        started: clock.now(),
        timer: clock.timer(),
        quiet_since: Moment::NEVER,
        clock,
        shared,
        outside,
        pipe,
        settings: None,
        faults,
        received: BytesMut::new(),
        due: BTreeMap::new(),
        on_the_way: BTreeMap::new(),
        asked: 0,
        output: BytesMut::new(),
        said: VecDeque::new(),
        coming_off: None,
        pondering: None,
    };
    (served, async move { poll_fn(|cx| service.poll(cx)).await })
}

struct Service<I> {
    instrument: I,
    framing: Framing,
    clock: Clock,
    started: Moment,
    timer: Timer,
    /// When something came last that is no whole command yet, where silence makes it one.
    quiet_since: Moment,
    shared: Arc<Mutex<Shared>>,
    outside: Option<Box<dyn Outside>>,
    pipe: Option<Box<dyn Transport>>,
    /// How the last host had set its line.
    settings: Option<HostSettings>,
    faults: Faults,
    received: BytesMut,
    /// What is still to be done, by due time and order of asking, and whether it answers something.
    due: BTreeMap<(Moment, u64), (Deed, bool)>,
    /// What has been said, and is held up by a fault.
    on_the_way: BTreeMap<(Moment, u64), (Deed, bool)>,
    asked: u64,
    /// What has been said, and the pipe has not taken yet.
    output: BytesMut,
    /// The same and what the pipe has taken: how long each piece was, and whether it answered something. The last first.
    said: VecDeque<(Bytes, bool)>,
    /// The cable is coming off, and until when what was said before may still be read.
    coming_off: Option<Moment>,
    /// Code of the user's own is thinking: a paused clock stands still meanwhile.
    pondering: Option<Busy>,
}

impl<I: Instrument> Service<I> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.shared).waker = Some(cx.waker().clone());
        self.framing.attend(cx.waker());
        for _ in 0..ROUNDS {
            if self.obey() == Obeyed::Stopped {
                self.stop();
                return Poll::Ready(());
            }
            let now = self.clock.now();
            self.speak_until(now);
            self.answer(cx, now);
            if self.framing.asks() && !self.received.is_empty() {
                // Code of the user's own that was asked what is a command may have answered.
                self.hear(now, false);
                self.answer(cx, now);
                self.speak_until(now);
            }
            self.write(cx);
            if self.read(cx, now) | self.let_in(cx, now) {
                continue;
            }
            if self.quiet_end() <= now {
                self.hear(now, true);
                continue;
            }
            if self.pipe.is_none() && self.outside.is_none() && lock(&self.shared).abandoned {
                return Poll::Ready(());
            }
            self.timer.set(self.next_moment().min(self.quiet_end()));
            if self.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    // -- what it is told -----------------------------------------------------------------------------------------------

    fn obey(&mut self) -> Obeyed {
        loop {
            let order = lock(&self.shared).orders.pop_front();
            match order {
                None => return Obeyed::All,
                Some(Order::Stop) => return Obeyed::Stopped,
                Some(Order::Disconnect) => self.pull(),
                Some(Order::Reconnect(Some(pipe))) => {
                    self.unplug();
                    self.pipe = Some(pipe);
                }
                Some(Order::Reconnect(None)) => self.plug(),
                Some(Order::PowerCycle) => {
                    let now = self.clock.now();
                    self.speak_until(now);
                    self.due.clear();
                    self.on_the_way.clear();
                    self.pondering = None;
                    let says = self.instrument.power_on();
                    self.plan(now, says);
                }
                Some(Order::Look(place)) => {
                    self.catch_up();
                    let look = self.look();
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
                }
            }
        }
    }

    fn look(&mut self) -> Look {
        // What is due is said by then.
        self.speak_until(self.clock.now());
        self.write_now();
        let unread = self.pipe.as_ref().map_or(0, |pipe| pipe.unread()) + self.output.len();
        let (mut left, mut unread_reply, mut pieces) = (unread, false, Vec::new());
        for (piece, asked) in &self.said {
            if left == 0 {
                break;
            }
            let part = piece.slice(piece.len().saturating_sub(left)..);
            left -= part.len().min(left);
            unread_reply |= asked;
            pieces.push(part);
        }
        pieces.reverse();
        Look {
            unread: pieces.concat().into(),
            unread_reply,
            partial: Bytes::copy_from_slice(&self.received),
            owes: self.due.values().chain(self.on_the_way.values()).any(|(_, asked)| *asked)
                || self.instrument.ponders(),
            settings: self.pipe.as_ref().and_then(|pipe| pipe.host_settings()).or(self.settings),
            connected: self.pipe.is_some(),
        }
    }

    fn stop(&mut self) {
        self.unplug();
        if let Some(outside) = &mut self.outside {
            outside.unplug();
        }
    }

    fn pull(&mut self) {
        // First, so that a host that sees its wire end does not still find the place.
        if let Some(outside) = &mut self.outside {
            outside.unplug();
        }
        self.unplug();
        self.note("disconnected");
    }

    fn plug(&mut self) {
        let Some(outside) = &mut self.outside else { return };
        if self.pipe.is_some() {
            return;
        }
        match outside.plug() {
            Ok(pipe) => {
                self.pipe = pipe;
                self.note("connected again");
            }
            // Nobody is there to be told but who reads the record, and the next host, who finds nothing.
            Err(_) => self.note("could not be connected again"),
        }
    }

    fn unplug(&mut self) {
        self.received.clear();
        self.output.clear();
        self.said.clear();
        self.coming_off = None;
        self.quiet_since = Moment::NEVER;
        if let Some(pipe) = self.pipe.take() {
            self.settings = pipe.host_settings().or(self.settings);
            pipe.close();
        }
    }

    fn note(&self, note: &'static str) {
        lock(&self.shared).note(self.clock.stamp(), note);
    }
}

#[derive(PartialEq, Eq)]
enum Obeyed {
    All,
    Stopped,
}
