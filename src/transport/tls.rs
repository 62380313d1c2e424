//! TLS over a connected socket, as a byte pipe. rustls keeps the keys; moving its records is done here, because a direct read has to ask
//! the system and decrypt what it says. Whom it trusts is in `tls/trust.rs`, what goes wrong in words in `tls/explain.rs`.
//!
//! # Invariants
//! 1. Plain bytes that were accepted are records in `unsent` at once, and leave in that order: a record that was begun is never recalled.
//! 2. Whatever is in `unsent` when a write returns is sent by the task that reads: it is the one that is woken when there is room.
//! 3. The end of the stream is only a goodbye that the other side has signed; a connection that just ends is an error that says so.

mod explain;
mod trust;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustls::{ClientConnection, Error};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::control::{Control, ControlError, Controlled};
use super::{Gives, Transport, no_line, output_ended, read_all_now};
use crate::descriptor::Registered;
use crate::error::{OpenError, OpenKind};

pub use trust::{Pem, Tls, TlsSettings};

const SCRATCH: usize = 16_384;

/// The most that is accepted before the system has taken what was accepted before: one record.
const RECORD: usize = 16_384;

/// For how long a goodbye may wait for room in the socket: ten times this.
const GOODBYE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// An encrypted connection.
struct Encrypted {
    // First, so that the number is out of the register before the descriptor is closed.
    _registered: Registered,
    stream: TcpStream,
    session: ClientConnection,
    tls: Arc<Tls>,
    scratch: Box<[u8]>,
    /// Decrypted and not read yet.
    plain: BytesMut,
    /// Encrypted and not sent yet.
    unsent: RefCell<BytesMut>,
    /// Why nothing more comes.
    ended: Option<End>,
    /// We have said that nothing more comes from us.
    said_goodbye: bool,
    /// Whoever reads.
    reader: Waker,
}

/// How the stream from the other side ended.
enum End {
    Goodbye,
    Cut,
    Broken(String),
}

impl End {
    fn error(&self) -> io::Error {
        match self {
            End::Goodbye => io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the connection"),
            End::Cut => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended without TLS's goodbye: the other side broke down, or somebody cut it",
            ),
            End::Broken(why) => io::Error::new(io::ErrorKind::InvalidData, why.clone()),
        }
    }
}

/// Comes to an understanding with whoever is at the other end of `stream`. The caller limits the time.
///
/// *Cancel safety*: dropping the future closes the connection.
///
/// *Errors*: `Refused`, with what to do about it.
pub(super) async fn encrypt(
    stream: TcpStream,
    registered: Registered,
    tls: Arc<Tls>,
) -> Result<Box<dyn Transport>, OpenError> {
    let refused = |why: String| OpenError::new(OpenKind::Refused, why);
    let config = tls.prepare()?;
    let session = ClientConnection::new(config, tls.server.clone())
        .map_err(|error| refused(explain::why(&error, &tls.server, tls.trust())))?;
    let mut pipe = Encrypted {
        _registered: registered,
        stream,
        session,
        tls,
        scratch: vec![0; SCRATCH].into_boxed_slice(),
        plain: BytesMut::new(),
        unsent: RefCell::new(BytesMut::new()),
        ended: None,
        said_goodbye: false,
        reader: Waker::noop().clone(),
    };
    pipe.collect();
    let lost = |error: io::Error| OpenError {
        kind: OpenKind::Refused,
        why: format!("the connection broke while TLS was being agreed on ({error}): does the other side speak TLS?"),
        errno: error.raw_os_error(),
    };
    while pipe.session.is_handshaking() {
        poll_fn(|cx| pipe.poll_send(cx)).await.map_err(lost)?;
        poll_fn(|cx| pipe.poll_receive(cx)).await.map_err(lost)?;
        match &pipe.ended {
            Some(End::Broken(why)) => {
                let why = why.clone();
                // The alert that tells the other side why; it may be gone already.
                let _ = pipe.send_now();
                return Err(refused(why));
            }
            Some(end @ (End::Goodbye | End::Cut)) => return Err(lost(end.error())),
            None => {}
        }
    }
    poll_fn(|cx| pipe.poll_send(cx)).await.map_err(lost)?;
    Ok(Box::new(pipe))
}

impl Encrypted {
    /// Takes over the records that rustls has made.
    fn collect(&mut self) {
        let mut records = self.unsent.get_mut().writer();
        while self.session.wants_write() {
            // A buffer in memory takes everything.
            if self.session.write_tls(&mut records).is_err() {
                break;
            }
        }
    }

    /// Sends what is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let unsent = self.unsent.get_mut();
        while !unsent.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, unsent))?;
            unsent.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends as much of it as there is room for, past any cached readiness.
    fn send_now(&self) -> io::Result<()> {
        let mut unsent = self.unsent.borrow_mut();
        while !unsent.is_empty() {
            match send(&self.stream, &unsent, SendFlags::NOSIGNAL) {
                Ok(n) => unsent.advance(n),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits for records and decrypts them; there may be no plain bytes in them.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let n = piece.filled().len();
        if n == 0 {
            self.ended.get_or_insert(End::Cut);
        } else {
            let scratch = std::mem::take(&mut self.scratch);
            self.decrypt(scratch.get(..n).unwrap_or_default());
            self.scratch = scratch;
        }
        Poll::Ready(Ok(()))
    }

    fn decrypt(&mut self, mut records: &[u8]) {
        while !records.is_empty() && self.ended.is_none() {
            if let Err(error) = self.decrypt_some(&mut records) {
                let why = explain::why(&error, &self.tls.server, self.tls.trust());
                self.ended = Some(End::Broken(why));
            }
        }
        self.collect();
    }

    fn decrypt_some(&mut self, records: &mut &[u8]) -> Result<(), Error> {
        // It takes what fits into one record, and says no to more only while there is plain text to be fetched.
        self.session.read_tls(records).map_err(|error| Error::General(error.to_string()))?;
        let verdict = self.session.process_new_packets();
        // What was whole and signed before it went wrong is still worth hearing. It ends with "nothing more for now".
        let _ = io::copy(&mut self.session.reader(), &mut (&mut self.plain).writer());
        if verdict?.peer_has_closed() {
            self.ended = Some(End::Goodbye);
        }
        Ok(())
    }

    /// What has been decrypted, or why there is nothing.
    fn take_plain(&mut self, into: &mut BytesMut) -> Option<io::Result<usize>> {
        let n = self.plain.len();
        if n > 0 {
            into.extend_from_slice(&self.plain);
            self.plain.clear();
            return Some(Ok(n));
        }
        self.ended.as_ref().map(|end| Err(end.error()))
    }

    fn say_goodbye(&mut self) {
        if !self.said_goodbye {
            self.said_goodbye = true;
            self.session.send_close_notify();
            self.collect();
        }
    }
}

impl Transport for Encrypted {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        if !self.reader.will_wake(cx.waker()) {
            self.reader = cx.waker().clone();
        }
        // A connection that has gone says so to the read as well.
        let _ = self.poll_send(cx);
        loop {
            if let Some(taken) = self.take_plain(into) {
                return Poll::Ready(taken);
            }
            ready!(self.poll_receive(cx))?;
            let _ = self.poll_send(cx);
        }
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let mut records = BytesMut::new();
        if self.ended.is_none() {
            let take = |piece: &[u8]| records.extend_from_slice(piece);
            let found = read_all_now(&self.stream, Gives::Whole, &mut self.scratch, take)?;
            self.decrypt(&records);
            if found.ended {
                self.ended.get_or_insert(End::Cut);
            }
        }
        self.take_plain(into).unwrap_or(Ok(0))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.said_goodbye {
            return Poll::Ready(Err(output_ended()));
        }
        ready!(self.poll_send(cx))?;
        let n = self.session.writer().write(bytes.get(..RECORD.min(bytes.len())).unwrap_or_default())?;
        self.collect();
        // Invariant 2: who writes may not be there any more when there is room.
        let reader = self.reader.clone();
        if let Poll::Ready(sent) = self.poll_send(&mut Context::from_waker(&reader)) {
            sent?;
        }
        Poll::Ready(Ok(n))
    }

    /// What the system has taken it sends, however soon the socket is closed.
    fn queued_output(&self) -> usize {
        // A connection that has gone says so to whoever reads or writes.
        match self.send_now() {
            Ok(()) => self.unsent.borrow().len(),
            Err(_) => 0,
        }
    }

    fn discard_output(&mut self) {
        // Invariant 1.
    }

    fn discard_input(&mut self) {
        // An error here is met again by the next read. What is left of a record is the beginning of the next piece.
        let _ = self.read_now(&mut BytesMut::new());
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        if *control != Control::WriteEof {
            return Poll::Ready(Err(no_line(control)));
        }
        self.say_goodbye();
        Poll::Ready(match ready!(self.poll_send(cx)).and_then(|()| end_output(&self.stream)) {
            Ok(()) => Ok(Controlled::Done(Vec::new())),
            Err(error) => Err(ControlError::Lost(error)),
        })
    }

    fn close(mut self: Box<Self>) {
        self.say_goodbye();
        for _ in 0..10 {
            if self.queued_output() == 0 {
                break;
            }
            let mut room = [PollFd::new(&self.stream, PollFlags::OUT)];
            // No longer than that: the other side does not read, and has to be content with a connection that ends.
            let _ = poll(&mut room, Some(&GOODBYE));
        }
        // As for a plain connection: bytes that were not read would reset it, and cost our last words.
        let _ = end_output(&self.stream);
        let _ = read_all_now(&self.stream, Gives::Whole, &mut self.scratch, |_| ());
    }

    fn close_blocks(&self) -> bool {
        self.queued_output() > 0
    }
}

/// The other side reads the end; it can still talk.
pub(super) fn end_output(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        // It has ended on both sides: that is what was wished, and whoever reads hears of the rest.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended,
    }
}
