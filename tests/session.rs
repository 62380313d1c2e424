//! Opening, closing and what goes wrong there (laws 1, 6 and 7): stuck drivers, panics, cancelled and concurrent setups. In virtual time.

#![cfg(test)]

mod common;

use std::future::{pending, ready};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use common::{SOON, config, kind, lines, ms, place, query, wait};
use labtether::error::{LinkError, OpenError, OpenKind};
use labtether::link::Link;
use labtether::link::berths::Berths;
use labtether::link::job::{Closing, What};
use labtether::link::opener::{Attempt, Later, Opener, Place};
use labtether::link::session::Wish;
use labtether::link::ticket::Pending;
use labtether::transport::{Opened, Transport};

/// What a port does when it is opened.
#[derive(Clone, Copy)]
enum Port {
    /// It opens.
    Good,
    /// Its driver never comes back.
    StuckOpening,
    /// It refuses.
    Refusing,
    /// It opens, and cannot be closed.
    StuckClosing,
    /// It opens, and its code panics at the first read.
    Panicking,
    /// It opens, and its code panics at the first write: on the thread of who asks.
    PanickingAtWriting,
    /// It opens, and is gone at the first write: on the thread of who asks.
    GoneAtWriting,
}

struct Fake {
    port: Port,
    opened: Arc<AtomicUsize>,
}

struct Pipe {
    port: Port,
    open: Arc<AtomicUsize>,
    closed: Option<std::sync::mpsc::Receiver<()>>,
}

/// Held by the test: closing of a stuck port goes on when it is dropped.
static STUCK: Mutex<Vec<std::sync::mpsc::Sender<()>>> = Mutex::new(Vec::new());

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Transport for Pipe {
    fn poll_read(&mut self, _cx: &mut Context<'_>, _into: &mut BytesMut) -> Poll<io::Result<usize>> {
        assert!(!matches!(self.port, Port::Panicking), "a bug in a transport");
        Poll::Pending
    }

    fn read_now(&mut self, _into: &mut BytesMut) -> io::Result<usize> {
        Ok(0)
    }

    fn poll_write(&mut self, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!matches!(self.port, Port::PanickingAtWriting), "a bug in a transport");
        if matches!(self.port, Port::GoneAtWriting) {
            return Poll::Ready(Err(io::Error::other("somebody pulled the cable")));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn queued_output(&self) -> usize {
        0
    }

    fn discard_output(&mut self) {}

    fn discard_input(&mut self) {}

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn close(mut self: Box<Self>) {
        if let Some(closed) = self.closed.take() {
            // Until the test lets go.
            let _ = closed.recv();
        }
    }

    fn close_blocks(&self) -> bool {
        // A real thread knows nothing of virtual time: only the port that is to be stuck gets one.
        matches!(self.port, Port::StuckClosing)
    }
}

impl Opener for Fake {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok(("fake".to_owned(), Some(7)))))
    }

    fn open<'a>(&'a self, port: &'a str, _attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        match self.port {
            Port::StuckOpening => return Box::pin(pending()),
            Port::Refusing => return Box::pin(ready(Err(OpenError::new(OpenKind::Refused, "not today")))),
            Port::Good | Port::StuckClosing | Port::Panicking | Port::PanickingAtWriting | Port::GoneAtWriting => {}
        }
        let closed = matches!(self.port, Port::StuckClosing).then(|| {
            let (let_go, closed) = std::sync::mpsc::channel();
            STUCK.lock().unwrap().push(let_go);
            closed
        });
        self.opened.fetch_add(1, Ordering::SeqCst);
        let pipe = Box::new(Pipe { port: self.port, open: self.opened.clone(), closed });
        Box::pin(ready(Ok(Opened { pipe, port: port.to_owned(), device: Some(7), notices: Vec::new() })))
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(10)
    }
}

struct Rig {
    link: Arc<Link>,
    place: Place,
    berths: Berths,
    open: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    fn new(port: Port) -> Rig {
        let open = Arc::new(AtomicUsize::new(0));
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines_of_log = log.clone();
        let mut config = config(Fake { port, opened: open.clone() }, Some(lines()));
        config.log = Arc::new(move |line| lines_of_log.lock().unwrap().push(line.text));
        Rig { link: Link::new(config), place: place(), berths: Berths::default(), open, log }
    }

    async fn set_up(&self) -> Result<(), LinkError> {
        wait(&mut self.link.setup(&self.place, &self.berths, Wish::default())).await.map(drop)
    }

    async fn stop(&self) -> Result<(), LinkError> {
        wait(&mut self.link.stop(&self.place)).await.map(drop)
    }

    fn alive(&self) -> String {
        self.place.nursery.census().tree()
    }
}

#[tokio::test]
async fn a_refused_setup_leaves_nothing_a_thousand_times() {
    let rig = Rig::new(Port::Refusing);
    for _ in 0..1000 {
        assert!(matches!(rig.set_up().await, Err(LinkError::Open { .. })));
        assert_eq!(rig.link.state(), "closed");
    }
    rig.place.nursery.close();
    rig.place.nursery.ended().await;
    assert_eq!(rig.alive(), "");
}

#[tokio::test]
async fn a_driver_that_never_opens_is_given_up_at_the_limit() {
    let rig = Rig::new(Port::StuckOpening);
    let began = rig.place.clock().now();
    let error = rig.set_up().await.unwrap_err();
    assert_eq!(rig.place.clock().now().since(began), Duration::from_secs(10));
    assert!(error.to_string().contains("no answer within 10 s"), "{error}");
    assert_eq!(rig.link.state(), "closed");
}

#[tokio::test]
async fn a_cancelled_setup_is_undone_before_it_ends() {
    let rig = Rig::new(Port::StuckOpening);
    let mut setup = rig.link.setup(&rig.place, &rig.berths, Wish::default());
    let clock = rig.place.clock();
    assert!(clock.until(clock.now() + ms(100), wait(&mut setup)).await.is_none());
    assert_eq!(rig.link.state(), "opening");
    setup.cancel();
    assert_eq!(kind(&wait(&mut setup).await), "cancelled");
    assert_eq!(rig.link.state(), "closed");
}

#[tokio::test]
async fn a_setup_cancelled_in_the_instant_it_opens_is_undone_before_it_ends() {
    // However many turns of the runtime lie between the two: opened or not, cancelled means closed.
    for turns in 0..40 {
        let rig = Rig::new(Port::Good);
        let mut setup = rig.link.setup(&rig.place, &rig.berths, Wish::default());
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        setup.cancel();
        assert_eq!(kind(&wait(&mut setup).await), "cancelled", "after {turns} turns");
        assert_eq!(rig.link.state(), "closed", "after {turns} turns");
        assert_eq!(rig.open.load(Ordering::SeqCst), 0, "after {turns} turns");
    }
}

#[tokio::test]
async fn a_setup_whose_wait_is_dropped_is_undone_too() {
    for turns in 0..40 {
        let rig = Rig::new(Port::Good);
        let setup = rig.link.setup(&rig.place, &rig.berths, Wish::default());
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        drop(setup);
        rig.place.nursery.close();
        rig.place.nursery.ended().await;
        assert_eq!((rig.link.state(), rig.open.load(Ordering::SeqCst)), ("closed", 0), "after {turns} turns");
    }
}

#[tokio::test]
async fn one_of_two_setups_may_be_cancelled_and_the_other_has_its_link() {
    for turns in 0..40 {
        let rig = Rig::new(Port::Good);
        let mut first = rig.link.setup(&rig.place, &rig.berths, Wish::default());
        let mut second = rig.link.setup(&rig.place, &rig.berths, Wish::default());
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        first.cancel();
        assert_eq!(kind(&wait(&mut first).await), "cancelled");
        wait(&mut second).await.unwrap();
        assert_eq!(rig.link.state(), "open", "after {turns} turns");
        rig.stop().await.unwrap();
    }
}

#[tokio::test]
async fn stop_during_setup_ends_both() {
    let rig = Rig::new(Port::StuckOpening);
    let mut setup = rig.link.setup(&rig.place, &rig.berths, Wish::default());
    let clock = rig.place.clock();
    assert!(clock.until(clock.now() + ms(10), wait(&mut setup)).await.is_none());
    rig.stop().await.unwrap();
    let error = wait(&mut setup).await.unwrap_err();
    assert!(error.to_string().contains("stopped while it was being set up"), "{error}");
    assert_eq!(rig.link.state(), "closed");
}

#[tokio::test]
async fn setup_and_stop_count_from_the_instant_of_the_call() {
    let rig = Rig::new(Port::Good);
    let mut setup = rig.link.setup(&rig.place, &rig.berths, Wish::default());
    assert_eq!(rig.link.state(), "opening");
    rig.stop().await.unwrap();
    assert_eq!(kind(&wait(&mut setup).await), "closed");
    assert_eq!(rig.link.state(), "closed");
    rig.set_up().await.unwrap();
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(rig.link.state(), "closing");
    wait(&mut stop).await.unwrap();
}

#[tokio::test]
async fn stop_ends_a_setup_that_waits_for_an_earlier_stop() {
    let rig = Rig::new(Port::Good);
    rig.set_up().await.unwrap();
    let mut first = rig.link.stop(&rig.place);
    let mut setup = rig.link.setup(&rig.place, &rig.berths, Wish::default());
    let mut second = rig.link.stop(&rig.place);
    wait(&mut first).await.unwrap();
    wait(&mut second).await.unwrap();
    assert_eq!(kind(&wait(&mut setup).await), "closed");
    assert_eq!(rig.link.state(), "closed");
    assert_eq!(rig.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_port_of_a_link_that_was_just_forgotten_is_waited_for() {
    let rig = Rig::new(Port::Good);
    rig.set_up().await.unwrap();
    rig.link.end(Closing::Forgotten);
    let mut next = Rig::new(Port::Good);
    (next.place, next.berths) = (rig.place.clone(), rig.berths.clone());
    next.set_up().await.unwrap();
    assert_eq!(rig.open.load(Ordering::SeqCst), 0);
    next.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_that_cannot_be_closed_is_named_and_stop_keeps_its_time() {
    let rig = Rig::new(Port::StuckClosing);
    rig.set_up().await.unwrap();
    let began = rig.place.clock().now();
    let error = rig.stop().await.unwrap_err();
    assert!(rig.place.clock().now().since(began) <= Duration::from_secs(3));
    let LinkError::Cleanup { stuck, .. } = &error else { panic!("{error}") };
    assert!(stuck[0].contains("labtether-close-scale"), "{stuck:?}");
    assert!(rig.alive().contains("thread labtether-close-scale"));
    // The next setup on that device waits for it, and says who has it.
    let Err(LinkError::Busy { why, .. }) = rig.set_up().await else { panic!() };
    assert!(why.contains("scale"), "{why}");
    STUCK.lock().unwrap().clear();
}

#[tokio::test]
async fn a_panic_in_the_loop_is_an_error_for_who_waits_and_for_who_comes_next() {
    a_panic_is_the_links(Port::Panicking).await;
}

#[tokio::test]
async fn a_panic_on_the_thread_of_who_asks_is_the_links_and_not_his() {
    a_panic_is_the_links(Port::PanickingAtWriting).await;
}

#[tokio::test]
async fn a_loss_that_who_asks_runs_into_is_told_to_everyone() {
    let rig = Rig::new(Port::GoneAtWriting);
    rig.set_up().await.unwrap();
    let clock = rig.place.clock();
    // Asleep, so that who asks does it himself.
    clock.sleep(ms(1)).await;
    let mut listening =
        rig.link.ask(What::Receive { pattern: None, framing: None, accept: None }, None, SOON, SOON, clock);
    let mut asking = rig.link.ask(query("S"), None, SOON, SOON, clock);
    for ticket in [&mut asking, &mut listening] {
        let error = wait(ticket).await.unwrap_err();
        assert!(matches!(error, LinkError::Lost { .. }) && error.to_string().contains("pulled the cable"), "{error}");
    }
    assert_eq!(rig.link.state(), "lost");
    rig.stop().await.unwrap();
    assert_eq!(rig.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_link_whose_task_is_dropped_does_not_keep_its_port() {
    let rig = Rig::new(Port::Good);
    rig.set_up().await.unwrap();
    rig.place.clock().sleep(ms(1)).await;
    rig.place.nursery.cancel_within("no time for anything", Duration::ZERO);
    rig.place.nursery.ended().await;
    assert_eq!(rig.open.load(Ordering::SeqCst), 0);
}

async fn a_panic_is_the_links(port: Port) {
    let rig = Rig::new(port);
    rig.set_up().await.unwrap();
    if matches!(port, Port::PanickingAtWriting) {
        // Asleep, so that who asks does it himself.
        rig.place.clock().sleep(ms(1)).await;
    }
    let mut waiting = rig.link.ask(query("S"), None, SOON, SOON, rig.place.clock());
    assert!(wait(&mut waiting).await.is_err());
    rig.place.clock().sleep(ms(1)).await;
    let mut next = rig.link.ask(query("S"), None, SOON, SOON, rig.place.clock());
    let error = wait(&mut next).await.unwrap_err();
    assert!(error.to_string().contains("a bug in a transport"), "{error}");
    assert!(rig.log.lock().unwrap().iter().any(|line| line.contains("please report")));
    assert_eq!(rig.open.load(Ordering::SeqCst), 0);
    rig.stop().await.unwrap();
    assert_eq!(rig.link.state(), "closed");
}
