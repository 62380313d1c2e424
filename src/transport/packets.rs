//! A pair of USB bulk endpoints as a byte pipe. Pure but for what it asks of a [`Bulk`]: real endpoints are in `usb.rs`, a bus that is not
//! there in the tests.
//!
//! USB carries packets, a pipe carries bytes. Where packets are messages, each one that comes has its length before it, which
//! `Framing::Packets` takes off again; elsewhere they are joined to one stream. What is written at once is one transfer, either way.
//! (`framing` may not be used from here, so the mark is given.)
//!
//! # Invariants
//! 1. Transfers that read are always waiting, as a device may have something to say at any time; completed ones come in order.
//! 2. One transfer that writes is under way at most: an urgent message waits for no more than that, and it can be taken back.
//! 3. What was asked for before input was discarded is dropped, however late it completes.
//! 4. Nothing waits: a completion, or an endpoint that is in order again, wakes whoever polled.
//! 5. A packet that did not come whole is never given out as one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::{MOST_NOW, Transport};

/// Which endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Bulk IN: from the device.
    Read,
    /// Bulk OUT: to the device.
    Write,
}

/// How a transfer ended, if not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// We took it back.
    Cancelled,
    /// The device refused it: its endpoint is halted until that is cleared.
    Stalled,
    /// The device is gone.
    Gone,
    /// Anything else, in words.
    Failed(String),
}

/// A transfer that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What came, as far as it came; empty for one that wrote.
    pub bytes: Vec<u8>,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// Two bulk endpoints of a claimed interface. None of this waits but `close`.
pub trait Bulk: Send {
    /// The most that one packet has. A transfer is cut into packets, and one that reads ends at the first that is not full.
    fn packet_size(&self, side: Side) -> usize;

    /// Asks for up to `length` bytes, a multiple of the packet size.
    fn submit_read(&mut self, length: usize);

    /// Sends `bytes`; none are a packet of no bytes.
    fn submit_write(&mut self, bytes: Vec<u8>);

    /// How many transfers were submitted and not given back by `poll_done`.
    fn pending(&self, side: Side) -> usize;

    /// The oldest transfer, once it is over. Pending if there is none.
    fn poll_done(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Done>;

    /// Takes all transfers back; each still comes out of `poll_done`.
    fn cancel(&mut self, side: Side);

    /// Puts a halted endpoint in order, on which nothing is pending. Called again until it is ready.
    fn poll_clear_halt(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;

    /// Takes everything back and lets the device go. May block.
    fn close(self: Box<Self>);
}

/// How packets become bytes.
#[derive(Clone, Copy, Debug)]
pub enum Joined {
    /// One after the other, borders lost.
    Stream,
    /// Each with a mark before it.
    Marked {
        /// Adds a packet with its mark to a stream.
        packet: fn(&[u8], &mut BytesMut),
        /// Adds the mark of a refusal.
        refusal: fn(&mut BytesMut),
    },
}

/// How a pipe uses its endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// What becomes of packets.
    pub joined: Joined,
    /// The most that one transfer brings, rounded up to whole packets.
    pub transfer_size: usize,
    /// End a message that fills its last packet with a packet of no bytes.
    pub zero_packet: bool,
}

/// So many transfers wait for the device to say something: while one is handed over, the others catch what comes.
const WAITING: usize = 4;

/// A device that refuses so often, and neither says nor takes anything between, is not going to.
const MOST_REFUSALS: u8 = 4;

/// A pipe over `bulk`.
pub fn pipe(bulk: Box<dyn Bulk>, manner: Manner) -> Box<dyn Transport> {
    let packet = bulk.packet_size(Side::Read).max(1);
    let transfer_size = manner.transfer_size.max(1).next_multiple_of(packet);
    Box::new(Packets(RefCell::new(Both {
        bulk,
        manner: Manner { transfer_size, ..manner },
        inbox: BytesMut::new(),
        reader: None,
        dropping: 0,
        filled: false,
        writing: VecDeque::new(),
        halted: Vec::new(),
        refusals: 0,
        over: None,
    })))
}

/// In a cell, because asking how much is still queued means looking what has completed.
struct Packets(RefCell<Both>);

struct Both {
    bulk: Box<dyn Bulk>,
    manner: Manner,
    /// What has come and was not read.
    inbox: BytesMut,
    /// Whoever polled for reading last.
    reader: Option<Waker>,
    /// How many transfers that read are to be dropped when they are over.
    dropping: usize,
    /// The last transfer that read was full: a packet of no bytes right after it is its end, and no message.
    filled: bool,
    /// The lengths of the transfers that write.
    writing: VecDeque<usize>,
    /// Endpoints that are to be put in order.
    halted: Vec<Side>,
    /// How often it refused since it last said or took something.
    refusals: u8,
    /// Why nothing goes any more.
    over: Option<(io::ErrorKind, String)>,
}

impl Both {
    fn error(&self) -> Option<io::Error> {
        self.over.as_ref().map(|(kind, why)| io::Error::new(*kind, why.clone()))
    }

    /// Takes note of what went wrong. A transfer that we took back is no news.
    fn fault(&mut self, side: Side, fault: &Fault) {
        match fault {
            Fault::Cancelled => {}
            Fault::Stalled if self.halted.contains(&side) => {}
            Fault::Stalled if self.refusals == MOST_REFUSALS => {
                self.end(
                    io::ErrorKind::Other,
                    "the device refuses everything (its endpoint stalls again and again)".to_owned(),
                );
            }
            Fault::Stalled => match self.manner.joined {
                Joined::Marked { refusal, .. } => {
                    self.refusals += 1;
                    refusal(&mut self.inbox);
                    self.halted.push(side);
                    // What else waits there would wait for ever, and nothing may while it is put in order.
                    self.bulk.cancel(side);
                    self.wake();
                }
                // A stream has no place where this could be said.
                Joined::Stream => {
                    let what = if side == Side::Read { "to answer" } else { "what was written" };
                    self.end(
                        io::ErrorKind::ConnectionReset,
                        format!("the device refused {what} (its endpoint stalled)"),
                    );
                }
            },
            Fault::Gone => self.end(io::ErrorKind::UnexpectedEof, "the device was unplugged".to_owned()),
            Fault::Failed(why) => self.end(io::ErrorKind::Other, format!("a USB transfer failed: {why}")),
        }
    }

    fn end(&mut self, kind: io::ErrorKind, why: String) {
        if self.over.is_none() {
            self.over = Some((kind, why));
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(reader) = &self.reader {
            reader.wake_by_ref();
        }
    }

    /// Puts endpoints in order and takes what has completed, as far as that goes now.
    fn look(&mut self, cx: &mut Context<'_>) {
        self.look_at_writing(cx);
        while self.inbox.len() < MOST_NOW {
            if !self.is_in_order(Side::Read, cx) {
                return;
            }
            // Once it is over nothing more is asked for; what has come is still there.
            while self.over.is_none() && self.bulk.pending(Side::Read) < WAITING + self.dropping {
                self.bulk.submit_read(self.manner.transfer_size);
            }
            let Poll::Ready(done) = self.bulk.poll_done(Side::Read, cx) else { return };
            self.came(&done);
        }
    }

    fn came(&mut self, done: &Done) {
        let dropped = self.dropping > 0;
        self.dropping = self.dropping.saturating_sub(1);
        if !dropped {
            match (self.manner.joined, &done.fault) {
                (Joined::Stream, _) => self.inbox.extend_from_slice(&done.bytes),
                (Joined::Marked { packet, .. }, None) => {
                    if !(done.bytes.is_empty() && self.filled) {
                        packet(&done.bytes, &mut self.inbox);
                    }
                    self.filled = done.bytes.len() == self.manner.transfer_size;
                }
                (Joined::Marked { .. }, Some(_)) => {}
            }
        }
        match &done.fault {
            Some(fault) => self.fault(Side::Read, fault),
            None => self.refusals = 0,
        }
    }

    fn look_at_writing(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(done) = self.bulk.poll_done(Side::Write, cx) {
            self.writing.pop_front();
            match &done.fault {
                Some(fault) => self.fault(Side::Write, fault),
                None => self.refusals = 0,
            }
        }
        self.is_in_order(Side::Write, cx);
    }

    /// Whether nothing is to be put in order there, now that it was tried.
    fn is_in_order(&mut self, side: Side, cx: &mut Context<'_>) -> bool {
        let Some(place) = self.halted.iter().position(|halted| *halted == side) else { return true };
        while self.bulk.pending(side) > 0 {
            let Poll::Ready(done) = self.bulk.poll_done(side, cx) else { return false };
            if side == Side::Read { self.came(&done) } else { self.writing.clear() }
        }
        match self.bulk.poll_clear_halt(side, cx) {
            Poll::Pending => false,
            Poll::Ready(cleared) => {
                self.halted.remove(place);
                if let Err(fault) = cleared {
                    // Refused twice, it is not going to be in order.
                    let fault =
                        if fault == Fault::Stalled { Fault::Failed("the halt stays".to_owned()) } else { fault };
                    self.fault(side, &fault);
                }
                true
            }
        }
    }

    /// The same, for nobody in particular: whoever reads is woken by what is still to come.
    fn look_now(&mut self) {
        let waker = self.reader.clone().unwrap_or_else(|| Waker::noop().clone());
        self.look(&mut Context::from_waker(&waker));
    }

    fn hand_over(&mut self, into: &mut BytesMut) -> usize {
        let n = self.inbox.len();
        into.extend_from_slice(&self.inbox);
        self.inbox.clear();
        n
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.look_at_writing(cx);
        if let Some(error) = self.error() {
            return Poll::Ready(Err(error));
        }
        if !self.writing.is_empty() || self.halted.contains(&Side::Write) {
            return Poll::Pending;
        }
        let piece = match self.manner.joined {
            // A frame, whole: a message is one transfer.
            Joined::Marked { .. } => bytes,
            Joined::Stream => bytes.get(..self.manner.transfer_size).unwrap_or(bytes),
        };
        self.bulk.submit_write(piece.to_vec());
        self.writing.push_back(piece.len());
        if self.manner.zero_packet && piece.len() % self.bulk.packet_size(Side::Write).max(1) == 0 {
            self.bulk.submit_write(Vec::new());
            self.writing.push_back(0);
        }
        // Who writes now may not poll again; who reads hears how it ended.
        let waker = self.reader.clone().unwrap_or_else(|| cx.waker().clone());
        self.look_at_writing(&mut Context::from_waker(&waker));
        Poll::Ready(Ok(piece.len()))
    }

    fn discard_input(&mut self) {
        self.look_now();
        self.inbox.clear();
        self.filled = false;
        self.dropping = self.bulk.pending(Side::Read);
        if self.dropping > 0 {
            self.bulk.cancel(Side::Read);
            self.look_now();
        }
    }
}

impl Transport for Packets {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let both = self.0.get_mut();
        both.reader = Some(cx.waker().clone());
        both.look(cx);
        match (both.hand_over(into), both.error()) {
            (0, None) => Poll::Pending,
            (0, Some(error)) => Poll::Ready(Err(error)),
            // What came before the end is given out first.
            (n, _) => Poll::Ready(Ok(n)),
        }
    }

    /// As far as the thread that watches the bus has noticed.
    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let both = self.0.get_mut();
        both.look_now();
        match (both.hand_over(into), both.error()) {
            (0, Some(error)) => Err(error),
            (n, _) => Ok(n),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.get_mut().poll_write(cx, bytes)
    }

    fn queued_output(&self) -> usize {
        let Ok(mut both) = self.0.try_borrow_mut() else { return 0 };
        let waker = both.reader.clone().unwrap_or_else(|| Waker::noop().clone());
        both.look_at_writing(&mut Context::from_waker(&waker));
        both.writing.iter().sum()
    }

    /// What the device has taken of a transfer it keeps; whether it takes the rest for the beginning of the next message is its own affair.
    fn discard_output(&mut self) {
        let both = self.0.get_mut();
        if both.bulk.pending(Side::Write) > 0 {
            both.bulk.cancel(Side::Write);
        }
    }

    fn discard_input(&mut self) {
        self.0.get_mut().discard_input();
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn close(self: Box<Self>) {
        self.0.into_inner().bulk.close();
    }

    fn close_blocks(&self) -> bool {
        true
    }
}
