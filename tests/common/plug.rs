//! A port that can be unplugged and plugged in again: an opener that gives pipe after pipe or fails as it is told, and pipes with lines to set.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use labtether::clock::{Clock, Moment};
use labtether::error::{OpenError, OpenKind};
use labtether::framing::Framing;
use labtether::link::berths::Berths;
use labtether::link::opener::{Attempt, Later, Opener, Place};
use labtether::link::session::Wish;
use labtether::link::{Config, Link};
use labtether::transport::control::{Control, ControlError, Controlled};
use labtether::transport::memory::{Memory, memory_pipe};
use labtether::transport::{Opened, Transport};

use super::{Bench, SOON, config, place, wait};

/// What is done to the lines of a pipe, and what they say to it.
#[derive(Default)]
pub(crate) struct Desk {
    /// What was asked of it, and when.
    pub(crate) done: Vec<(Control, Moment)>,
    /// Bytes that it holds back.
    pub(crate) queued: usize,
    /// These are not confirmed.
    pub(crate) stuck: bool,
    /// What it says instead of having done it.
    pub(crate) says: VecDeque<Result<Controlled, ControlError>>,
    waker: Option<Waker>,
}

/// A pipe with lines.
pub(crate) struct Lined {
    pipe: Memory,
    desk: Arc<Mutex<Desk>>,
    clock: Clock,
}

impl Transport for Lined {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.pipe.poll_read(cx, into)
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        self.pipe.read_now(into)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pipe.poll_write(cx, bytes)
    }

    fn queued_output(&self) -> usize {
        self.desk.lock().unwrap().queued
    }

    fn discard_output(&mut self) {
        self.pipe.discard_output();
    }

    fn discard_input(&mut self) {
        self.pipe.discard_input();
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        let mut desk = self.desk.lock().unwrap();
        if desk.stuck {
            desk.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        desk.done.push((control.clone(), self.clock.now()));
        Poll::Ready(desk.says.pop_front().unwrap_or(Ok(Controlled::Done(Vec::new()))))
    }

    fn close(self: Box<Self>) {
        // Dropping it is what closes it.
    }

    fn close_blocks(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Ends {
    /// What the next attempts meet; nothing more: there is no port.
    next: VecDeque<Result<Lined, OpenError>>,
    /// When it was tried.
    tried: Vec<Moment>,
    waker: Option<Waker>,
    /// Attempts wait for the next instead of failing.
    slow: bool,
}

/// The wall end of the cable; cheap to clone.
#[derive(Clone)]
pub(crate) struct Plug {
    ends: Arc<Mutex<Ends>>,
    pub(crate) desk: Arc<Mutex<Desk>>,
    clock: Clock,
}

impl Plug {
    pub(crate) fn new(clock: &Clock) -> Plug {
        Plug { ends: Arc::default(), desk: Arc::default(), clock: clock.clone() }
    }

    /// The next attempt finds a pipe of `capacity` bytes that leads here.
    pub(crate) fn gives(&self, capacity: usize) -> Bench {
        let (pipe, theirs) = memory_pipe(&self.clock, capacity);
        let lined = Lined { pipe, desk: self.desk.clone(), clock: self.clock.clone() };
        self.next(Ok(lined));
        Bench { pipe: theirs, clock: self.clock.clone(), heard: BytesMut::new() }
    }

    /// The next attempt fails.
    pub(crate) fn fails(&self) {
        self.next(Err(nothing()));
    }

    fn next(&self, next: Result<Lined, OpenError>) {
        let mut ends = self.ends.lock().unwrap();
        ends.next.push_back(next);
        if let Some(waker) = ends.waker.take() {
            self.clock.stir();
            waker.wake();
        }
    }

    /// From now on attempts wait until there is something.
    pub(crate) fn is_slow(&self) {
        self.ends.lock().unwrap().slow = true;
    }

    /// When it was tried since the last look.
    pub(crate) fn tried(&self) -> Vec<Moment> {
        std::mem::take(&mut self.ends.lock().unwrap().tried)
    }

    /// What was done to the lines since the last look, and when.
    pub(crate) fn done(&self) -> Vec<(Control, Moment)> {
        std::mem::take(&mut self.desk.lock().unwrap().done)
    }

    /// Whether what is asked of the lines is not confirmed.
    pub(crate) fn sticks(&self, stuck: bool) {
        let mut desk = self.desk.lock().unwrap();
        desk.stuck = stuck;
        if let Some(waker) = desk.waker.take() {
            self.clock.stir();
            waker.wake();
        }
    }
}

fn nothing() -> OpenError {
    OpenError::new(OpenKind::Missing, "there is no such port")
}

impl Opener for Plug {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(std::future::ready(Ok(("memory".to_owned(), None))))
    }

    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        self.ends.lock().unwrap().tried.push(self.clock.now());
        let found = std::future::poll_fn(move |cx| {
            let mut ends = self.ends.lock().unwrap();
            let next = match ends.next.pop_front() {
                None if ends.slow => {
                    ends.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                None => Err(nothing()),
                Some(next) => next,
            };
            let opened =
                |pipe| Opened { pipe: Box::new(pipe), port: port.to_owned(), device: None, notices: Vec::new() };
            Poll::Ready(next.map(opened))
        });
        Box::pin(async move {
            tokio::select! {
                found = found => found,
                () = attempt.given_up.cancelled() => Err(nothing()),
            }
        })
    }

    fn limit(&self) -> Duration {
        SOON
    }
}

/// A link whose port can be unplugged, and the first pipe's other end.
pub(crate) async fn plugged(
    capacity: usize,
    framing: Option<Framing>,
    change: impl FnOnce(&mut Config),
) -> (Arc<Link>, Bench, Plug, Place) {
    let place = place();
    let plug = Plug::new(place.clock());
    let bench = plug.gives(capacity);
    let mut config = config(plug.clone(), framing);
    change(&mut config);
    let link = Link::new(config);
    wait(&mut link.setup(&place, &Berths::default(), Wish::default())).await.expect("opens");
    plug.tried();
    (link, bench, plug, place)
}
