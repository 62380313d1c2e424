//! A link whose instrument is on the bus.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use labtether::clock::Clock;
use labtether::error::OpenError;
use labtether::framing::{Framing, Packets};
use labtether::link::Link;
use labtether::link::berths::Berths;
use labtether::link::job::What;
use labtether::link::opener::{Attempt, Later, Opener, Place};
use labtether::link::question::Question;
use labtether::link::session::Wish;
use labtether::link::trace::Direction;
use labtether::nursery::census::Census;
use labtether::nursery::{Nursery, Rules};
use labtether::transport::Opened;
use labtether::transport::packets::{Side, pipe};

use crate::bus::{Device, PACKET};
use crate::common::{SOON, config, kind, text, wait};
use crate::{MARKED, manner};

struct Plugged(Device);

impl Opener for Plugged {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(std::future::ready(Ok(("1209:7e57".to_owned(), Some(1 << 63)))))
    }

    fn open<'a>(&'a self, port: &'a str, _attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        let pipe = pipe(self.0.claimed(), manner(MARKED, 4096));
        Box::pin(std::future::ready(Ok(Opened { pipe, port: port.to_owned(), device: None, notices: Vec::new() })))
    }

    fn limit(&self) -> std::time::Duration {
        SOON
    }

    fn keeps_packets(&self) -> bool {
        true
    }
}

/// In real time: the bus has no part in a clock that jumps.
fn real_place() -> Place {
    let clock = Clock::real();
    let census = Census::new(&clock);
    let rules = Rules { stays: false, together: false, ..Rules::default() };
    let (nursery, supervisor) = Nursery::open("test", &clock, &census, None, rules);
    tokio::spawn(supervisor.run());
    Place { nursery, runtime: tokio::runtime::Handle::current() }
}

#[tokio::test]
async fn a_link_asks_in_packets_and_outlives_a_refusal() {
    let (place, device) = (real_place(), Device::default());
    let link = Link::new(config(Plugged(device.clone()), Some(Packets.into())));
    // From before: nobody's answer.
    device.packets(&[b"stale"]);
    wait(&mut link.setup(&place, &Berths::default(), Wish::default())).await.unwrap();
    let query = |command: &'static [u8]| {
        let framing = Framing::from(Packets);
        let frame = framing.encode(command).unwrap();
        What::Query(Box::new(Question::new(Bytes::from_static(command), frame, framing)))
    };
    let ask = |command| link.ask(query(command), None, SOON, SOON, place.clock());
    let written = || async {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            let taken = device.taken();
            if taken.is_empty() { Poll::Pending } else { Poll::Ready(taken) }
        })
        .await
    };
    let long = vec![b'x'; 10 * PACKET + 1];
    for (command, reply) in [(&b"*IDN?"[..], b"ACME".to_vec()), (b"two\r\nlines", long), (b"empty?", Vec::new())] {
        let mut ticket = ask(command);
        let answering = async {
            assert_eq!(written().await, [command]);
            if reply.is_empty() { device.packets(&[b""]) } else { device.say(&reply) }
        };
        let (answer, ()) = tokio::join!(wait(&mut ticket), answering);
        assert_eq!(text(answer.unwrap()).as_bytes(), reply);
    }
    let mut ticket = ask(b"NONSENSE");
    let (answer, ()) = tokio::join!(wait(&mut ticket), async {
        written().await;
        device.stall(Side::Read);
    });
    assert_eq!(kind(&answer), "frame");
    let mut ticket = ask(b"*IDN?");
    let (answer, ()) = tokio::join!(wait(&mut ticket), async {
        written().await;
        device.say(b"ACME");
    });
    assert_eq!(text(answer.unwrap()), "ACME");
    let heard: Vec<Bytes> = link
        .trace
        .events()
        .into_iter()
        .filter(|event| event.direction == Direction::In)
        .map(|event| event.data)
        .collect();
    assert_eq!(heard.first().unwrap(), "ACME", "the trace has what came over the wire, without the pipe's marks");
    assert_eq!(heard.last().unwrap(), "ACME");
    wait(&mut link.stop(&place)).await.unwrap();
    assert!(device.is_closed());
}
