//! A USB bus that is not there: it cuts and joins packets, halts, and loses its device as USB 2.0 has it (chapters 5.8 and 8.5.3), and does
//! nothing by itself. What the real one does besides is not known from here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use labtether::transport::packets::{Bulk, Done, Fault, Side};

/// Full speed: the most that a bulk packet has.
pub(crate) const PACKET: usize = 64;

#[derive(Default)]
struct Endpoint {
    /// What was asked for and is not over: how much, and what has come of it (or is to be written).
    pending: VecDeque<(usize, Vec<u8>)>,
    over: VecDeque<Done>,
    waker: Option<Waker>,
    halted: bool,
    for_ever: bool,
    /// How often a halt was cleared, and how far the clearing under way is.
    cleared: usize,
    clearing: bool,
}

#[derive(Default)]
struct State {
    read: Endpoint,
    write: Endpoint,
    /// What the device would say if it were asked.
    fifo: VecDeque<Vec<u8>>,
    /// What the device has taken, transfer by transfer.
    taken: Vec<Vec<u8>>,
    /// The device takes nothing.
    busy: bool,
    gone: bool,
    closed: bool,
    halt_stays: bool,
}

impl State {
    fn side(&mut self, side: Side) -> &mut Endpoint {
        if side == Side::Read { &mut self.read } else { &mut self.write }
    }

    /// Moves packets as far as that goes.
    fn run(&mut self) {
        while let Some((length, so_far)) = self.read.pending.front_mut()
            && let Some(packet) = self.fifo.pop_front()
        {
            assert!(packet.len() <= PACKET && *length % PACKET == 0, "a babble on the bus");
            so_far.extend(&packet);
            if packet.len() < PACKET || so_far.len() == *length {
                let bytes = self.read.pending.pop_front().unwrap().1;
                self.read.over.push_back(Done { bytes, fault: None });
            }
        }
        while !self.busy
            && let Some((_, bytes)) = self.write.pending.pop_front()
        {
            self.taken.push(bytes);
            self.write.over.push_back(Done { bytes: Vec::new(), fault: None });
        }
    }

    fn end(&mut self, side: Side, fault: &Fault, how_many: usize) {
        let endpoint = self.side(side);
        for _ in 0..how_many.min(endpoint.pending.len()) {
            let bytes = endpoint.pending.pop_front().map(|(_, bytes)| bytes).filter(|_| side == Side::Read);
            endpoint.over.push_back(Done { bytes: bytes.unwrap_or_default(), fault: Some(fault.clone()) });
        }
    }
}

/// The device, for a test to play; and its bus.
#[derive(Clone, Default)]
pub(crate) struct Device(Arc<Mutex<State>>);

impl Device {
    /// What `claim` of it gives.
    pub(crate) fn claimed(&self) -> Box<dyn Bulk> {
        Box::new(Claimed(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Does something, and tells whoever waits.
    fn act(&self, act: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            act(&mut state);
            if !state.gone && !state.read.halted {
                state.run();
            }
            [state.read.waker.take(), state.write.waker.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Says these packets.
    pub(crate) fn packets(&self, packets: &[&[u8]]) {
        self.act(|state| state.fifo.extend(packets.iter().map(|packet| packet.to_vec())));
    }

    /// Says this, cut into packets; what fills its last packet has no end.
    pub(crate) fn say(&self, message: &[u8]) {
        self.packets(&message.chunks(PACKET).collect::<Vec<_>>());
    }

    /// Takes nothing more, or takes again.
    pub(crate) fn busy(&self, busy: bool) {
        self.act(|state| state.busy = busy);
    }

    /// Refuses what is under way there, and everything after it.
    pub(crate) fn stall(&self, side: Side) {
        self.act(|state| {
            state.side(side).halted = true;
            state.end(side, &Fault::Stalled, 1);
        });
    }

    /// Refuses everything there from now on, however often the halt is cleared.
    pub(crate) fn stall_for_ever(&self, side: Side) {
        self.act(|state| state.side(side).for_ever = true);
        self.stall(side);
    }

    /// Refuses what it is to take, and is free again.
    pub(crate) fn busy_refusing(&self) {
        self.stall(Side::Write);
        self.busy(false);
    }

    pub(crate) fn keep_the_halt(&self) {
        self.act(|state| state.halt_stays = true);
    }

    pub(crate) fn fail(&self, side: Side) {
        self.act(|state| state.end(side, &Fault::Failed("babble".to_owned()), 1));
    }

    pub(crate) fn unplug(&self) {
        self.act(|state| {
            state.gone = true;
            for side in [Side::Read, Side::Write] {
                state.end(side, &Fault::Gone, usize::MAX);
            }
        });
    }

    /// What it has taken since it was asked last.
    pub(crate) fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.state().taken)
    }

    pub(crate) fn halts_cleared(&self, side: Side) -> usize {
        self.state().side(side).cleared
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

struct Claimed(Device);

impl Bulk for Claimed {
    fn packet_size(&self, _side: Side) -> usize {
        PACKET
    }

    fn submit_read(&mut self, length: usize) {
        self.submit(Side::Read, length, Vec::new());
    }

    fn submit_write(&mut self, bytes: Vec<u8>) {
        self.submit(Side::Write, bytes.len(), bytes);
    }

    fn pending(&self, side: Side) -> usize {
        let mut state = self.0.state();
        let endpoint = state.side(side);
        endpoint.pending.len() + endpoint.over.len()
    }

    fn poll_done(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Done> {
        let mut state = self.0.state();
        let endpoint = state.side(side);
        match endpoint.over.pop_front() {
            Some(done) => Poll::Ready(done),
            None => {
                // One waker, as nusb keeps: the last one.
                endpoint.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn cancel(&mut self, side: Side) {
        self.0.act(|state| state.end(side, &Fault::Cancelled, usize::MAX));
    }

    fn poll_clear_halt(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        assert_eq!(self.pending(side), 0, "a halt is cleared while transfers are pending");
        let mut state = self.0.state();
        if !std::mem::replace(&mut state.side(side).clearing, true) {
            // A request to the device: it takes a moment.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        state.side(side).clearing = false;
        if state.gone {
            return Poll::Ready(Err(Fault::Gone));
        }
        if state.halt_stays {
            return Poll::Ready(Err(Fault::Stalled));
        }
        state.side(side).halted = state.side(side).for_ever;
        state.side(side).cleared += 1;
        Poll::Ready(Ok(()))
    }

    fn close(self: Box<Self>) {
        self.0.state().closed = true;
    }
}

impl Claimed {
    fn submit(&mut self, side: Side, length: usize, bytes: Vec<u8>) {
        self.0.act(|state| {
            let (gone, halted) = (state.gone, state.side(side).halted);
            state.side(side).pending.push_back((length, bytes));
            if gone {
                state.end(side, &Fault::Gone, usize::MAX);
            } else if halted {
                state.end(side, &Fault::Stalled, usize::MAX);
            }
        });
    }
}
