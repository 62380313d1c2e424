//! A link on an in-memory pipe, in virtual time, and the other end of that pipe for a test to play the instrument on.

#![allow(dead_code, reason = "each test file uses its part of this")]

pub(crate) mod asking;
pub(crate) mod plug;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use labtether::clock::Clock;
use labtether::error::{LinkError, OpenError};
use labtether::framing::{Framing, Lines};
use labtether::link::berths::Berths;
use labtether::link::job::What;
use labtether::link::opener::{Attempt, Later, Opener, Place};
use labtether::link::question::Question;
use labtether::link::session::Wish;
use labtether::link::ticket::{Answer, Pending, Ticket, Verdict};
use labtether::link::{Config, Link};
use labtether::nursery::census::Census;
use labtether::nursery::{Nursery, Rules};
use labtether::transport::memory::{Memory, memory_pipe};
use labtether::transport::{Opened, Transport};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Waits for a ticket as Python would: claims it when it is woken.
pub(crate) async fn wait(pending: &mut impl Pending) -> Verdict {
    poll_fn(|cx| pending.poll_claim(cx)).await
}

/// A scope to open links in, on a paused clock.
pub(crate) fn place() -> Place {
    let (clock, driver) = Clock::paused();
    let census = Census::new(&clock);
    let rules = Rules { stays: false, together: false, ..Rules::default() };
    let (nursery, supervisor) = Nursery::open("test", &clock, &census, None, rules);
    tokio::spawn(driver);
    tokio::spawn(supervisor.run());
    Place { nursery, runtime: tokio::runtime::Handle::current() }
}

/// The instrument's side of the pipe.
pub(crate) struct Bench {
    pub(crate) pipe: Memory,
    clock: Clock,
    heard: BytesMut,
}

impl Bench {
    /// The next command, without its LF.
    pub(crate) async fn hear(&mut self) -> String {
        loop {
            if let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
                let command = self.heard.split_to(end + 1);
                return String::from_utf8_lossy(&command[..end]).into_owned();
            }
            poll_fn(|cx| self.pipe.poll_read(cx, &mut self.heard)).await.expect("the link hung up");
        }
    }

    pub(crate) async fn say(&mut self, bytes: &str) {
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            let n = poll_fn(|cx| self.pipe.poll_write(cx, rest)).await.expect("the link hung up");
            rest = &rest[n..];
        }
    }

    pub(crate) async fn pause(&self, span: Duration) {
        self.clock.sleep(span).await;
    }
}

struct Socket(Mutex<Option<Memory>>);

impl Opener for Socket {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(std::future::ready(Ok(("memory".to_owned(), None))))
    }

    fn open<'a>(&'a self, port: &'a str, _attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        let pipe = self.0.lock().unwrap().take().expect("opened once");
        let opened = Opened { pipe: Box::new(pipe), port: port.to_owned(), device: None, notices: Vec::new() };
        Box::pin(std::future::ready(Ok(opened)))
    }

    fn limit(&self) -> Duration {
        SOON
    }
}

pub(crate) fn config(opener: impl Opener + 'static, framing: Option<Framing>) -> Config {
    Config {
        name: Arc::from("scale"),
        port: Arc::from("memory"),
        opener: Box::new(opener),
        rules: labtether::link::rules::Rules { framing, limit: SOON, ..Default::default() },
        trace: 200,
        close_timeout: ms(2000),
        park: None,
        ready: None,
        log: Arc::new(|_| {}),
    }
}

pub(crate) fn lines() -> Framing {
    Lines::new(vec![Bytes::from_static(b"\n")], None, false, 1000).unwrap().into()
}

/// An open link, and the bench it leads to.
pub(crate) struct Rig {
    pub(crate) link: Arc<Link>,
    pub(crate) bench: Bench,
    pub(crate) place: Place,
}

impl Rig {
    /// With a pipe of `capacity` bytes, and a change to the settings.
    pub(crate) async fn with(capacity: usize, framing: Option<Framing>, change: impl FnOnce(&mut Config)) -> Rig {
        let place = place();
        let (ours, theirs) = memory_pipe(place.clock(), capacity);
        let mut config = config(Socket(Mutex::new(Some(ours))), framing);
        change(&mut config);
        let link = Link::new(config);
        wait(&mut link.setup(&place, &Berths::default(), Wish::default())).await.expect("opens");
        let bench = Bench { pipe: theirs, clock: place.clock().clone(), heard: BytesMut::new() };
        Rig { link, bench, place }
    }

    pub(crate) async fn open() -> Rig {
        Rig::with(4096, Some(lines()), |_| {}).await
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.place.clock()
    }

    pub(crate) fn ask(&self, what: What, limit: Duration) -> Ticket {
        self.link.ask(what, None, limit, Duration::from_secs(30), self.clock())
    }

    pub(crate) fn query(&self, command: &str, limit: Duration) -> Ticket {
        self.ask(query(command), limit)
    }

    /// Asks and waits; the reply as text.
    pub(crate) async fn reply(&self, command: &str) -> String {
        text(wait(&mut self.query(command, SOON)).await.expect("a reply"))
    }
}

pub(crate) fn query(command: &str) -> What {
    let framing = lines();
    let frame = framing.encode(command.as_bytes()).unwrap();
    What::Query(Box::new(Question::new(Bytes::copy_from_slice(command.as_bytes()), frame, framing)))
}

pub(crate) fn send(message: &str, urgent: bool) -> What {
    let frame = lines().encode(message.as_bytes()).unwrap();
    What::Send { command: Bytes::copy_from_slice(message.as_bytes()), frame, urgent, raw: false }
}

pub(crate) fn talk() -> What {
    What::Talk { place: Arc::from("at bench.py:7"), abort: None }
}

pub(crate) fn text(answer: Answer) -> String {
    match answer {
        Answer::Message(heard, _) => String::from_utf8_lossy(&heard.body).into_owned(),
        Answer::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("not a message: {other:?}"),
    }
}

/// The name of an error, for comparing.
pub(crate) fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Ok(_) => "ok",
        Err(LinkError::Closed { .. }) => "closed",
        Err(LinkError::Busy { .. }) => "busy",
        Err(LinkError::Lost { .. }) => "lost",
        Err(LinkError::Timeout { .. }) => "timeout",
        Err(LinkError::Frame { .. }) => "frame",
        Err(LinkError::Cancelled { .. }) => "cancelled",
        Err(_) => "other",
    }
}
