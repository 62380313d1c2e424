//! Simulated instruments, on a pipe in memory and in virtual time: when a conversation says 400, it is 400 ms, not
//! 399 and not 401.

#![cfg(test)]

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use labtether::clock::{Clock, Moment};
use labtether::framing::{Framing, Lines};
use labtether::simulate::{Balance, Instrument, Say, Served, serve};
use labtether::transport::Transport;
use labtether::transport::memory::memory_pipe;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// As much as a pseudo-terminal holds.
fn pipe(clock: &Clock) -> (Box<dyn Transport>, Box<dyn Transport>) {
    let (near, far) = memory_pipe(clock, 4_096);
    (Box::new(near), Box::new(far))
}

/// The host's end of the wire to an instrument.
struct Host {
    clock: Clock,
    start: Moment,
    wire: Box<dyn Transport>,
    received: BytesMut,
    /// What came, and how many milliseconds after the start.
    heard: Vec<(u64, String)>,
    lost: bool,
}

fn host_of(instrument: impl Instrument + 'static) -> (Host, Served, tokio::task::JoinHandle<()>) {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    let (wire, other) = pipe(&clock);
    let (served, service) = serve(instrument, other, clock.clone());
    (Host::on(clock, wire), served, tokio::spawn(service))
}

impl Host {
    fn on(clock: Clock, wire: Box<dyn Transport>) -> Host {
        Host { start: clock.now(), clock, wire, received: BytesMut::new(), heard: Vec::new(), lost: false }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    async fn send(&mut self, command: &str) {
        self.send_raw(format!("{command}\r\n").as_bytes()).await;
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        let written = poll_fn(|cx| self.wire.poll_write(cx, bytes)).await;
        assert_eq!(written.ok(), Some(bytes.len()), "the pipe takes it whole");
    }

    /// Listens until `time`, in milliseconds since the start.
    async fn listen_until(&mut self, time: u64) {
        let (clock, deadline) = (self.clock.clone(), self.start + ms(time));
        while !self.lost && clock.until(deadline, self.listen()).await.is_some() {}
        clock.sleep_until(deadline).await;
    }

    async fn listen(&mut self) {
        self.lost = poll_fn(|cx| self.wire.poll_read(cx, &mut self.received)).await.is_err();
        let time = self.now();
        while let Ok(Some(line)) = Framing::from(Lines::crlf()).take(&mut self.received) {
            self.heard.push((time, String::from_utf8_lossy(&line).into_owned()));
        }
    }
}

/// Holds a conversation: each line, or part between bars, has the time in milliseconds, the direction and the text.
/// Fails if anything else is said, at another time, or within a second afterwards.
async fn check(instrument: impl Instrument + 'static, conversation: &str) {
    let (mut host, _served, _service) = host_of(instrument);
    let mut expected = Vec::new();
    let mut end = 0;
    for line in conversation.split(['\n', '|']).map(str::trim).filter(|line| !line.is_empty()) {
        let (time, rest) = line.split_once(' ').unwrap_or_default();
        let time: u64 = time.parse().unwrap_or_else(|_| panic!("no time in {line:?}"));
        match rest.split_at(2) {
            ("> ", command) => {
                host.listen_until(time).await;
                host.send(command).await;
            }
            ("< ", reply) => expected.push((time, reply.to_owned())),
            _ => panic!("no direction in {line:?}"),
        }
        end = time;
    }
    host.listen_until(end + 1_000).await;
    assert_eq!(host.heard, expected);
}

#[tokio::test]
async fn a_stable_weight_comes_after_exactly_its_settle_time() {
    check(Balance::new(), "10 > S | 410 < S S   42.00000 g").await;
    check(Balance::new().with_settle(ms(2_500)).with_load(-0.00012), "7 > S | 2507 < S S   -0.00012 g").await;
    check(Balance::new().with_settle(ms(0)).with_load(199.999_99), "0 > S | 0 < S S  199.99999 g").await;
}

#[tokio::test]
async fn immediate_weights_wobble_in_the_same_way_every_time() {
    let conversation = "0 > SI | 1 < S D   42.00002 g | 5 > SI | 6 < S D   42.00001 g";
    check(Balance::new(), conversation).await;
    check(Balance::new(), conversation).await;
    // Now and then it stands still.
    check(Balance::new().with_seed(8), "0 > SI | 1 < S D   42.00002 g | 5 > SI | 6 < S S   42.00000 g").await;
}

#[tokio::test]
async fn an_immediate_weight_is_not_held_up_by_a_stable_one_and_is_dynamic_meanwhile() {
    check(
        // The seed whose first wobble is none at all.
        Balance::new().with_seed(5),
        "0 > S
         10 > SI | 11 < S D   42.00000 g
         20 > I4 | 21 < I4 A \"B021002593\"
         400 < S S   42.00000 g",
    )
    .await;
}

#[tokio::test]
async fn a_second_command_that_needs_a_stable_weight_is_told_that_the_balance_is_busy() {
    check(
        Balance::new(),
        "0 > S
         100 > S | 101 < S I
         200 > T | 201 < T I
         300 > Z | 301 < Z I
         400 < S S   42.00000 g
         401 > S | 801 < S S   42.00000 g",
    )
    .await;
}

#[tokio::test]
async fn a_stream_goes_on_every_tenth_of_a_second_until_the_next_command() {
    check(
        Balance::new(),
        "0 > SIR
         1 < S D   42.00002 g
         101 < S D   42.00001 g
         201 < S D   41.99999 g
         301 < S D   41.99998 g
         350 > I4 | 351 < I4 A \"B021002593\"
         2000 > SIR | 2000 > QUIET",
    )
    .await;
}

#[tokio::test]
async fn at_cancels_what_is_pending_but_not_the_tare() {
    check(
        Balance::new(),
        "0 > T | 400 < T S   42.00000 g
         500 > S
         600 > @ | 601 < I4 A \"B021002593\"
         2000 > SIR | 2001 < S D    0.00002 g
         2050 > @ | 2051 < I4 A \"B021002593\"
         4000 > TA | 4001 < TA A   42.00000 g",
    )
    .await;
}

#[tokio::test]
async fn c_cancels_in_two_lines() {
    check(Balance::new(), "0 > S | 10 > C | 11 < C B | 12 < C A").await;
}

#[tokio::test]
async fn taring_and_zeroing_move_the_weight() {
    check(
        Balance::new().with_load(100.5),
        "0 > TA | 1 < TA A    0.00000 g
         2 > T | 402 < T S  100.50000 g
         403 > S | 803 < S S    0.00000 g
         804 > TAC | 805 < TAC A
         806 > S | 1206 < S S  100.50000 g
         1207 > TI | 1208 < TI D  100.50002 g
         1209 > S | 1609 < S S   -0.00002 g
         1610 > Z | 2010 < Z A
         2011 > TA | 2012 < TA A    0.00000 g
         2013 > S | 2413 < S S    0.00000 g
         2414 > ZI | 2415 < ZI A",
    )
    .await;
}

#[tokio::test]
async fn the_other_commands_of_a_driver_are_answered_and_unknown_ones_are_syntax_errors() {
    check(
        Balance::new(),
        "0 > I2 | 1 < I2 A \"WXS205SDU WXA-Bridge 220.00900 g\"
         2 > M21 0 0 | 3 < M21 A
         4 > D \"hello\" | 5 < D A
         6 > DW | 7 < DW A
         10 > s | 11 < ES
         12 >  S | 13 < ES
         14 > D hello | 15 < D L
         16 > D \" | 17 < D L
         18 > M21 0 9 | 19 < M21 L
         20 > *IDN? | 21 < ES
         22 > QUIET",
    )
    .await;
}

#[tokio::test]
async fn too_heavy_a_load_is_an_overload() {
    check(
        Balance::new().with_load(220.1),
        "0 > S | 1 < S +
         2 > SI | 3 < S +
         4 > T | 5 < T +
         6 > TI | 7 < TI +
         8 > Z | 9 < Z +
         10 > SIR | 11 < S +
         20 > QUIET",
    )
    .await;
}

/// Says what it is told to after the time that it is told: "30 hello".
struct Parrot;

impl Instrument for Parrot {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        let text = String::from_utf8_lossy(command);
        let (after, words) = text.split_once(' ').unwrap_or_default();
        vec![Say::after(ms(after.parse().unwrap_or(0)), format!("{words}\r\n"))]
    }

    fn framing(&self) -> Framing {
        Lines::crlf().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        vec![Say::now("hello\r\n"), Say::after(ms(50), "ready\r\n")]
    }
}

#[tokio::test]
async fn several_replies_are_outstanding_each_with_its_own_time() {
    check(
        Parrot,
        "0 > 300 slow
         0 > 100 first of two
         0 > 100 second of two
         50 > 50 third, asked later
         90 > 5 fast
         95 < fast
         100 < first of two
         100 < second of two
         100 < third, asked later
         300 < slow",
    )
    .await;
}

#[tokio::test]
async fn of_replies_that_are_due_together_the_one_asked_for_first_comes_first() {
    let balance = Balance::new().with_settle(ms(1));
    check(balance, "0 > S | 0 > I4 | 1 < S S   42.00000 g | 1 < I4 A \"B021002593\"").await;
}

#[tokio::test]
async fn what_is_due_at_once_is_said_before_the_next_command_of_the_same_burst_is_heard() {
    let (mut host, _served, _service) = host_of(Balance::new().with_settle(ms(0)));
    host.send_raw(b"T\r\nS\r\nS\r\n").await;
    host.listen_until(100).await;
    let replies: Vec<&str> = host.heard.iter().map(|(_, reply)| reply.as_str()).collect();
    assert_eq!(replies, ["T S   42.00000 g", "S S    0.00000 g", "S S    0.00000 g"]);
}

#[tokio::test]
async fn it_goes_on_when_nobody_holds_its_handle() {
    let (mut host, served, _service) = host_of(Balance::new());
    drop(served);
    host.send("TAC").await;
    host.listen_until(100).await;
    assert_eq!(host.heard, [(1, "TAC A".to_owned())]);
}

#[tokio::test]
async fn commands_are_told_apart_however_they_arrive() {
    let (mut host, served, _service) = host_of(Balance::new());
    for piece in ["I", "4\r", "\nS\r\nS", "I\r\n", "half"] {
        host.send_raw(piece.as_bytes()).await;
        host.clock.sleep(ms(10)).await;
    }
    assert_eq!(served.heard(), ["I4", "S", "SI"]);
}

#[tokio::test]
async fn noise_without_an_end_does_not_deafen_it() {
    let (mut host, served, _service) = host_of(Balance::new());
    for _ in 0..200 {
        host.send_raw(&[0xA5; 1_000]).await;
        host.clock.sleep(ms(1)).await;
    }
    host.send("").await;
    host.send("I4").await;
    host.listen_until(1_000).await;
    assert_eq!(host.heard.last().map(|(_, reply)| reply.as_str()), Some("I4 A \"B021002593\""));
    assert_eq!(served.heard().last(), Some(&Bytes::from_static(b"I4")));
}

#[tokio::test]
async fn a_host_that_does_not_read_loses_readings_and_nothing_else() {
    let (mut host, _served, _service) = host_of(Balance::new());
    host.send("SIR").await;
    host.clock.sleep(Duration::from_secs(3_600)).await;
    host.send("I4").await;
    host.listen_until(3_700_000).await;
    assert!(host.heard.len() < 36_000, "{} readings were kept for it", host.heard.len());
    host.send("I4").await;
    host.listen_until(3_800_000).await;
    assert_eq!(host.heard.last(), Some(&(3_700_001, "I4 A \"B021002593\"".to_owned())));
}

#[tokio::test]
async fn stop_ends_the_service_and_closes_the_wire() {
    let (mut host, served, service) = host_of(Balance::new());
    host.send("S").await;
    host.listen_until(100).await;
    served.stop();
    assert!(service.await.is_ok());
    host.listen_until(1_000).await;
    assert!(host.lost);
    assert_eq!(host.heard, []);
    assert_eq!(served.heard(), ["S"]);
}

#[tokio::test]
async fn an_unplugged_instrument_goes_on_and_can_be_plugged_in_again() {
    let (mut host, served, service) = host_of(Balance::new());
    host.send("T").await;
    host.send_raw(b"half a comm").await;
    host.listen_until(100).await;
    served.disconnect();
    host.listen_until(1_000).await;
    assert!(host.lost, "the host notices");
    let (wire, other) = pipe(&host.clock);
    served.reconnect(other);
    let mut again = Host::on(host.clock.clone(), wire);
    again.send("TA").await;
    again.listen_until(500).await;
    assert_eq!(again.heard, [(1, "TA A   42.00000 g".to_owned())], "it was tared while it was unplugged");
    assert_eq!(served.heard(), ["T", "TA"]);
    drop(served);
    again.wire.close();
    assert!(service.await.is_ok(), "neither handle nor wire is left");
}

#[tokio::test]
async fn what_was_on_its_way_when_the_cable_was_pulled_is_lost() {
    let (mut host, served, _service) = host_of(Balance::new());
    host.send("SIR").await;
    host.clock.sleep(Duration::from_secs(3_600)).await;
    host.send("QUIET").await;
    host.clock.sleep(ms(1)).await;
    served.disconnect();
    let (wire, other) = pipe(&host.clock);
    served.reconnect(other);
    let mut again = Host::on(host.clock.clone(), wire);
    again.send("TAC").await;
    again.listen_until(500).await;
    assert_eq!(again.heard, [(1, "TAC A".to_owned())]);
}

#[tokio::test]
async fn a_power_cycle_forgets_what_was_pending_and_greets() {
    let (mut host, served, _service) = host_of(Balance::new());
    host.send("S").await;
    host.listen_until(100).await;
    served.power_cycle();
    host.listen_until(1_000).await;
    assert_eq!(host.heard, [(101, "I4 A \"B021002593\"".to_owned())]);

    let (mut host, served, _service) = host_of(Parrot);
    host.send("500 never said").await;
    host.listen_until(100).await;
    served.power_cycle();
    host.listen_until(1_000).await;
    assert_eq!(host.heard, [(100, "hello".to_owned()), (150, "ready".to_owned())]);
}
