//! The host's end of the wire to a simulated device, in virtual time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use labtether::clock::{Clock, Moment};
use labtether::framing::{Framing, Lines};
use labtether::simulate::devices::{Model, device};
use labtether::simulate::{Served, serve};
use labtether::transport::Transport;
use labtether::transport::memory::memory_pipe;

pub(crate) struct Host {
    clock: Clock,
    start: Moment,
    model: &'static Model,
    wire: Box<dyn Transport>,
    received: BytesMut,
    pub(crate) served: Served,
    /// What came, and how many milliseconds after the start.
    pub(crate) heard: Vec<(u64, String)>,
}

/// As in a URL: `pace=0.5&fault=04`.
pub(crate) fn options(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

impl Host {
    pub(crate) fn of(name: &str, asked: &str) -> Host {
        let (clock, driver) = Clock::paused();
        tokio::spawn(driver);
        let device = device(name, &options(asked)).unwrap();
        let (near, far) = memory_pipe(&clock, 4_096);
        let (served, service) = serve(device.instrument, Box::new(far), clock.clone());
        tokio::spawn(service);
        Host {
            start: clock.now(),
            clock,
            model: device.model,
            wire: Box::new(near),
            received: BytesMut::new(),
            served,
            heard: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, command: &str) {
        self.send_raw(&format!("{command}{}", self.model.hears)).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &str) {
        let written = poll_fn(|cx| self.wire.poll_write(cx, bytes.as_bytes())).await;
        assert_eq!(written.ok(), Some(bytes.len()), "the pipe takes it whole");
    }

    /// Listens until `time`, in milliseconds since the start.
    pub(crate) async fn listen_until(&mut self, time: u64) {
        let (clock, deadline) = (self.clock.clone(), self.start + Duration::from_millis(time));
        while clock.until(deadline, self.listen()).await.is_some() {}
        clock.sleep_until(deadline).await;
    }

    async fn listen(&mut self) {
        poll_fn(|cx| self.wire.poll_read(cx, &mut self.received)).await.unwrap();
        let time = u64::try_from(self.clock.now().since(self.start).as_millis()).unwrap();
        // Exactly what ends its messages: a CR too many would be at the front of the next.
        let framing: Framing = Lines::new(vec![Bytes::from(self.model.says)], None, false, 1_000).unwrap().into();
        while let Some(line) = framing.take(&mut self.received).unwrap() {
            self.heard.push((time, String::from_utf8(line.to_vec()).unwrap()));
        }
    }
}

/// Holds a conversation: each line, or part between bars, has the time in milliseconds, `>` or `<` and the text, or `~`
/// for nothing until then. Fails if anything else is said, at another time, or within a second afterwards.
pub(crate) async fn check(name: &str, asked: &str, conversation: &str) {
    let mut host = Host::of(name, asked);
    let mut expected = Vec::new();
    let mut end = 0;
    for line in conversation.split(['\n', '|']).map(str::trim).filter(|line| !line.is_empty()) {
        let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no time in {line:?}"));
        let time: u64 = time.parse().unwrap_or_else(|_| panic!("no time in {line:?}"));
        match rest.split_at(rest.len().min(2)) {
            ("> ", command) => {
                host.listen_until(time).await;
                host.send(command).await;
            }
            ("< ", reply) => expected.push((time, reply.to_owned())),
            ("~", "") => {}
            _ => panic!("no direction in {line:?}"),
        }
        end = time;
    }
    host.listen_until(end + 1_000).await;
    assert_eq!(host.heard, expected);
}
