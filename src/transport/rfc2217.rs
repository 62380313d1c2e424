//! A serial port on another machine, by RFC 2217 (Telnet COM Port Control): a byte pipe around a byte pipe. What the words of the
//! protocol are is the `rfc2217` crate's business. How a session begins is in `rfc2217/opening.rs`; what the settings are called, in
//! `rfc2217/settings.rs`; what is asked of the server besides, and what it answers, in `rfc2217/commands.rs` and `rfc2217/answers.rs`.
//! Nobody waits here: no deadlines, no messages.
//!
//! # Invariants
//! 1. What the server says about the line never gets among the bytes of the line, and those stay in order, however they were cut on
//!    their way and whoever read them: `poll_write` and `poll_control` keep what they find for the next read.
//! 2. What `poll_write` took is behind everything that was said before, so the server carries it out in that order.
//! 3. At most one byte that was taken has not been given to the socket: the second half of an escaped 0xFF.
//! 4. The answer to a control is taken from the server, never assumed.

mod answers;
mod commands;
mod opening;
mod settings;

use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use memchr::memchr;
use rfc2217::{Client, ComPortState, Event, PortSettings, Purge, Setting};

use super::Transport;
use super::control::{Control, ControlError, Controlled};
use answers::Answers;

pub use opening::open_rfc2217;
pub use settings::check;

/// Escapes every command of Telnet; as data it is sent twice.
const IAC: u8 = 0xFF;

/// How much is escaped at once.
const PIECE: usize = 16_384;

/// How much of the line is kept for the next read while nobody reads. More stays with the system, which holds the server.
const MOST_KEPT: usize = 1 << 18;

/// How much may wait for a server that asks and does not read the answers.
const MOST_UNSAID: usize = 1 << 16;

/// An open session.
struct Remote {
    inner: Box<dyn Transport>,
    client: Client,
    /// What has come of the line and was not read.
    inbox: BytesMut,
    /// As it comes from the server; empty between two calls.
    raw: BytesMut,
    /// What is to be said to the server before anything else.
    out: BytesMut,
    scratch: Box<[u8]>,
    /// Whoever waits for bytes of the line.
    reader: Option<Waker>,
    /// Whoever waits until the server takes bytes again.
    writer: Option<Waker>,
    /// The last write found no room.
    full: bool,
    /// How the port is set: as it was asked and confirmed last.
    settings: PortSettings,
    dtr: Answers,
    rts: Answers,
    held: Answers,
    /// How many times the server is still to say that it has thrown its input away. What comes before that is thrown away here.
    purges: usize,
    /// The other side sends back what it is sent.
    echoes: bool,
    /// What is being done.
    doing: Option<Control>,
}

impl Remote {
    fn new(inner: Box<dyn Transport>, settings: PortSettings) -> Remote {
        let mut remote = Remote {
            inner,
            client: Client::new(settings),
            inbox: BytesMut::new(),
            raw: BytesMut::new(),
            out: BytesMut::new(),
            scratch: vec![0; PIECE].into_boxed_slice(),
            reader: None,
            writer: None,
            full: false,
            settings,
            dtr: Answers::default(),
            rts: Answers::default(),
            held: Answers::default(),
            purges: 0,
            echoes: false,
            doing: None,
        };
        remote.speak();
        remote
    }

    fn is_active(&self) -> bool {
        self.client.com_port_state() == ComPortState::Active
    }

    /// Moves what the protocol has to say to where it is written from. After every call of the client, so that it always has room.
    fn speak(&mut self) {
        while self.client.has_output() {
            let n = self.client.output().len();
            self.out.extend_from_slice(self.client.output());
            self.client.consume_output(n);
        }
    }

    /// Says what is to be said. Ready: all of it was.
    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(self.inner.poll_write(cx, &self.out))?;
            self.out.advance(n.min(self.out.len()));
        }
        Poll::Ready(Ok(()))
    }

    /// The same as far as it goes now; the rest, and what goes wrong, is for the next poll.
    fn say_now(&mut self) {
        let _ = self.poll_said(&mut Context::from_waker(Waker::noop()));
    }

    /// Takes `raw` apart.
    fn understand(&mut self) {
        let mut raw = std::mem::take(&mut self.raw);
        while !raw.is_empty() {
            let took = self.client.receive_into(&raw, &mut self.scratch);
            raw.advance(took.consumed);
            if self.purges == 0 {
                self.inbox.extend_from_slice(self.scratch.get(..took.payload_len).unwrap_or_default());
            }
            while let Some(event) = self.client.poll_event() {
                self.take_note(&event);
            }
            self.speak();
        }
        self.raw = raw;
    }

    fn take_note(&mut self, event: &Event) {
        match event {
            Event::Dtr(on) => self.dtr.came(Some(*on)),
            Event::Rts(on) => self.rts.came(Some(*on)),
            // ser2net 4.3 says "on" when it has ended a break.
            Event::Break(_) => self.held.came(None),
            // sredird says this in answer to DTR and RTS.
            Event::FlowControl(_) if !self.client.pending_settings().contains(Setting::FlowControl) => {
                if self.dtr.is_owed() { self.dtr.came(None) } else { self.rts.came(None) }
            }
            Event::Purged(Purge::Receive | Purge::Both) => self.purges = self.purges.saturating_sub(1),
            Event::FlowResumed | Event::ComPortRefused => {
                if !self.is_active() {
                    self.purges = 0;
                }
                if let Some(writer) = self.writer.take() {
                    writer.wake();
                }
            }
            // A command of ours, from the other side.
            Event::Unknown(body) if body.get(1).is_some_and(|&code| code < 100) => self.echoes = true,
            // The levels of the modem lines are kept by the client. Errors of the line are told only to those who ask for them.
            _ => {}
        }
    }

    /// Reads more of what the server says, for whoever does not want the line's bytes. Ready: there was something.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.len() >= MOST_KEPT {
            return Poll::Pending;
        }
        ready!(self.inner.poll_read(cx, &mut self.raw))?;
        self.understand();
        if !self.inbox.is_empty()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// The bytes that have come.
    fn hand_over(&mut self, into: &mut BytesMut) -> usize {
        let n = self.inbox.len();
        into.extend_from_slice(&self.inbox);
        self.inbox.clear();
        n
    }
}

impl Transport for Remote {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            let said = self.poll_said(cx);
            if let Poll::Ready(Err(_)) = said {
                // The connection has gone. Reading gives what was said before that, then its end.
                self.out.clear();
            }
            if !self.inbox.is_empty() {
                return Poll::Ready(Ok(self.hand_over(into)));
            }
            // A server that asks and asks, and takes no answer, is not read from for ever.
            if self.out.len() > MOST_UNSAID || self.poll_heard(cx)?.is_pending() {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let read = self.inner.read_now(&mut self.raw);
        self.understand();
        self.say_now();
        match (self.hand_over(into), read) {
            (0, Err(error)) => Err(error),
            // An end behind other bytes is left for the next read to meet.
            (n, _) => Ok(n),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.full = true;
        loop {
            ready!(self.poll_said(cx))?;
            if !self.client.flow_suspended() {
                break;
            }
            // Only the server ends this, so it is listened to, whoever else does.
            self.writer = Some(cx.waker().clone());
            ready!(self.poll_heard(cx))?;
        }
        let piece = bytes.get(..bytes.len().min(PIECE)).unwrap_or(bytes);
        let taken = if memchr(IAC, piece).is_none() {
            ready!(self.inner.poll_write(cx, piece))?
        } else {
            let escaped: Vec<u8> = piece.iter().flat_map(|&byte| [byte; 2].into_iter().take(times(byte))).collect();
            let written = ready!(self.inner.poll_write(cx, &escaped))?;
            self.account(piece, written)
        };
        self.full = false;
        Poll::Ready(Ok(taken))
    }

    /// What the socket has taken is the server's: how much of it has left the port is not known.
    fn queued_output(&self) -> usize {
        self.out.len()
    }

    fn discard_output(&mut self) {
        // What the server took moves on as fast as its line; it is told to throw it away only if it takes no more. Otherwise the last
        // words of a link that is closed right after them would be lost.
        if self.full {
            self.purge(Purge::Transmit);
        }
    }

    fn discard_input(&mut self) {
        // An error here is met again by the next read.
        let _ = self.inner.read_now(&mut self.raw);
        self.understand();
        self.inbox.clear();
        if self.purge(Purge::Receive) {
            self.purges += 1;
        }
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        if self.doing.as_ref() != Some(control) {
            self.doing = None;
            self.begin(control)?;
            self.doing = Some(control.clone());
        }
        loop {
            // As far as it goes: the answer shows that it went.
            let _ = self.poll_said(cx).map_err(ControlError::Lost)?;
            if let Some(answer) = self.answer_to(control) {
                self.doing = None;
                // What was refused may have to be taken back.
                self.say_now();
                return Poll::Ready(answer);
            }
            ready!(self.poll_heard(cx)).map_err(ControlError::Lost)?;
        }
    }

    fn abandon_control(&mut self) {
        if self.doing.take() == Some(Control::Break(true)) {
            self.hold(false);
        }
        self.say_now();
    }

    fn close(mut self: Box<Self>) {
        self.abandon_control();
        self.say_now();
        self.inner.close();
    }

    fn close_blocks(&self) -> bool {
        self.inner.close_blocks()
    }
}

impl Remote {
    /// How much of `piece` is in the first `written` bytes of its escaped form. Half of an escaped byte counts: the rest of it is said next.
    fn account(&mut self, piece: &[u8], written: usize) -> usize {
        let mut sent = 0;
        for (taken, &byte) in piece.iter().enumerate() {
            if sent >= written {
                return taken;
            }
            sent += times(byte);
            if sent > written {
                self.out.extend_from_slice(&[IAC]);
            }
        }
        piece.len()
    }
}

/// How often `byte` is sent.
const fn times(byte: u8) -> usize {
    if byte == IAC { 2 } else { 1 }
}
