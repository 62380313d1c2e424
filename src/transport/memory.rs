//! Two ends of a pipe in this process: for simulated instruments, and for tests in virtual time. No descriptors and no speed.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::Transport;
use crate::clock::Clock;

/// A pipe that holds `capacity` bytes (at least one) in each direction. `clock` learns of everything that may wake the other side.
pub fn memory_pipe(clock: &Clock, capacity: usize) -> (Memory, Memory) {
    let way = || Arc::new(Mutex::new(Way::new(capacity.max(1))));
    let (there, back) = (way(), way());
    let near = Memory { outgoing: Arc::clone(&there), incoming: Arc::clone(&back), clock: clock.clone() };
    let far = Memory { outgoing: back, incoming: there, clock: clock.clone() };
    (near, far)
}

/// One end. Dropping it closes it: the other end reads what is left, then meets the end.
pub struct Memory {
    outgoing: Arc<Mutex<Way>>,
    incoming: Arc<Mutex<Way>>,
    clock: Clock,
}

/// One direction.
struct Way {
    bytes: BytesMut,
    capacity: usize,
    writer_gone: bool,
    reader_gone: bool,
    /// Who waits for bytes.
    reader: Option<Waker>,
    /// Who waits for room.
    writer: Option<Waker>,
}

impl Way {
    fn new(capacity: usize) -> Way {
        Way { bytes: BytesMut::new(), capacity, writer_gone: false, reader_gone: false, reader: None, writer: None }
    }

    /// Everything there is; nothing is `None`.
    fn take(&mut self, into: &mut BytesMut) -> Option<io::Result<usize>> {
        if !self.bytes.is_empty() {
            let n = self.bytes.len();
            into.extend_from_slice(&self.bytes);
            self.bytes.clear();
            return Some(Ok(n));
        }
        self.writer_gone.then(|| Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the pipe")))
    }

    fn put(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        if self.reader_gone {
            return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the other side closed the pipe")));
        }
        let room = self.capacity.saturating_sub(self.bytes.len());
        let fitting = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        if fitting.is_empty() && !bytes.is_empty() {
            return None;
        }
        self.bytes.extend_from_slice(fitting);
        Some(Ok(fitting.len()))
    }
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Something changed for whoever waits on the other side. Called with no lock held: a waker may run anything.
    fn stir(&self, waiting: Option<Waker>) {
        self.clock.stir();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn end(&self) {
        let reader = {
            let mut way = lock(&self.outgoing);
            way.writer_gone = true;
            way.reader.take()
        };
        self.stir(reader);
        let writer = {
            let mut way = lock(&self.incoming);
            way.reader_gone = true;
            way.bytes.clear();
            way.writer.take()
        };
        self.stir(writer);
    }

    fn discard(&self, way: &Mutex<Way>) {
        let writer = {
            let mut way = lock(way);
            way.bytes.clear();
            way.writer.take()
        };
        self.stir(writer);
    }
}

impl Transport for Memory {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let (taken, writer) = {
            let mut way = lock(&self.incoming);
            match way.take(into) {
                Some(taken) => (taken, way.writer.take()),
                None => {
                    way.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        self.stir(writer);
        Poll::Ready(taken)
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let (taken, writer) = {
            let mut way = lock(&self.incoming);
            let Some(taken) = way.take(into) else { return Ok(0) };
            (taken, way.writer.take())
        };
        self.stir(writer);
        taken
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (put, reader) = {
            let mut way = lock(&self.outgoing);
            match way.put(bytes) {
                Some(put) => (put, way.reader.take()),
                None => {
                    way.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        self.stir(reader);
        Poll::Ready(put)
    }

    /// What the other side has not read yet.
    fn queued_output(&self) -> usize {
        let way = lock(&self.outgoing);
        if way.reader_gone { 0 } else { way.bytes.len() }
    }

    fn discard_output(&mut self) {
        self.discard(&self.outgoing);
    }

    fn discard_input(&mut self) {
        self.discard(&self.incoming);
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn close(self: Box<Self>) {
        // Dropping it is what closes it.
    }

    fn close_blocks(&self) -> bool {
        false
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.end();
    }
}
