//! Serial ports behind RFC 2217, against a server written by hand: in pieces of one byte, late, refusing, holding. The real servers are in
//! `tests/test_rfc2217.py`.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use labtether::clock::Clock;
use labtether::error::{OpenError, OpenKind};
use labtether::transport::control::{Control, ControlError, Controlled, ModemLines};
use labtether::transport::rfc2217::open_rfc2217;
use labtether::transport::serial::{Parity, SerialSettings, StopBits};

use crate::telnet::{COM_PORT, DONT, Far, IAC, Said, command, escaped, open, pipes, session};
use crate::{Pipe, failure, is_quiet, read, read_exactly, soon, write};

const CAPACITIES: [usize; 4] = [1, 2, 5, 4096];

pub(crate) async fn control(pipe: &mut Pipe, control: Control) -> Result<Controlled, ControlError> {
    soon(poll_fn(|cx| pipe.poll_control(cx, &control))).await
}

pub(crate) fn done() -> Controlled {
    Controlled::Done(Vec::new())
}

pub(crate) fn unsupported(result: Result<Controlled, ControlError>) -> String {
    match result {
        Err(ControlError::Unsupported(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Whether `control` still waits for its answer.
pub(crate) fn waits(pipe: &mut Pipe, control: &Control) -> bool {
    pipe.poll_control(&mut Context::from_waker(Waker::noop()), control).is_pending()
}

// -- Opening -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_session_begins_when_all_is_confirmed_and_loses_nothing_that_came_before() {
    let settings = SerialSettings {
        // A speed with a byte that has to be escaped.
        baudrate: 0x0001_FF00,
        bytesize: 7,
        parity: Parity::Even,
        stopbits: StopBits::Two,
        rtscts: true,
        dtr: Some(true),
        rts: Some(false),
        ..SerialSettings::default()
    };
    for capacity in CAPACITIES {
        let (near, mut far) = pipes(&Clock::real(), capacity);
        let serving = async {
            far.say(b"be\xff\xfffore ").await;
            far.accept().await;
            far.say(b"mid").await;
            far.confirm(|_| None).await;
            far.say(b"dle ").await;
            for line in [8, 12] {
                assert_eq!(far.hear_command(5).await, [line]);
                far.say_command(105, &[line]).await;
            }
            far.say(b"after").await;
        };
        let opening = async {
            let opened = soon(open(near, &settings)).await.unwrap();
            assert_eq!((opened.port.as_str(), opened.device), ("far:2217", None));
            let mut pipe = opened.pipe;
            assert_eq!(read_exactly(&mut pipe, 20).await, b"be\xfffore middle after");
            pipe
        };
        let (mut pipe, ()) = tokio::join!(opening, serving);
        let asked: [(u8, Vec<u8>); 7] = [
            (1, vec![0, 1, 255, 0]),
            (2, vec![7]),
            (3, vec![3]),
            (4, vec![2]),
            (5, vec![3]),
            (5, vec![8]),
            (5, vec![12]),
        ];
        assert_eq!(far.commands, asked);
        let lines = ModemLines { dtr: Some(true), rts: Some(false), ..ModemLines::default() };
        assert_eq!(control(&mut pipe, Control::ReadLines).await.unwrap(), Controlled::Lines(lines));
        assert!(pipe.bytes_per_second().is_none() && !pipe.close_blocks());
    }
}

#[tokio::test]
async fn a_refused_setting_is_named_with_what_was_asked_and_what_is() {
    for (code, value, why) in [
        (1, vec![0, 0, 0x4b, 0], "baudrate: asked for 9600, the server has 19200"),
        (2, vec![8], "bytesize: asked for 7, the server has 8"),
        (3, vec![1], "parity: asked for E, the server has N"),
        (4, vec![1], "stopbits: asked for 2, the server has 1"),
        (5, vec![1], "flow control: asked for dsrdtr, the server has none"),
        (3, vec![99], "parity: asked for E, the server's answer is unreadable"),
    ] {
        let (near, mut far) = pipes(&Clock::real(), 4096);
        let (stopbits, parity) = (StopBits::Two, Parity::Even);
        let settings = SerialSettings { bytesize: 7, parity, stopbits, dsrdtr: true, ..SerialSettings::default() };
        let serving = async {
            far.accept().await;
            far.confirm(|asked| (asked == code).then(|| value.clone())).await;
        };
        let (opened, ()) = tokio::join!(soon(open(near, &settings)), serving);
        let error = failure(opened);
        assert_eq!((error.kind, error.why.as_str()), (OpenKind::Unsupported, why));
    }
    for line in [8_u8, 9] {
        let (near, mut far) = pipes(&Clock::real(), 4096);
        let settings = SerialSettings { dtr: Some(line == 8), ..SerialSettings::default() };
        let serving = async {
            far.agree().await;
            far.hear_command(5).await;
            far.say_command(105, &[17 - line]).await;
        };
        let (opened, ()) = tokio::join!(soon(open(near, &settings)), serving);
        assert!(failure(opened).why.starts_with("dtr: asked for o"));
    }
}

#[tokio::test]
async fn impossible_settings_are_refused_before_anything_is_said() {
    for (settings, why) in [
        (SerialSettings { baudrate: 0, ..SerialSettings::default() }, "baudrate: 0 is no speed"),
        (SerialSettings { bytesize: 9, ..SerialSettings::default() }, "bytesize: it is 5, 6, 7 or 8, not 9"),
        (
            SerialSettings { xonxoff: true, rtscts: true, ..SerialSettings::default() },
            "xonxoff, rtscts, dsrdtr: RFC 2217 has one flow control at a time",
        ),
    ] {
        let (near, _far) = pipes(&Clock::real(), 4096);
        let error = failure(open(near, &settings).await);
        assert_eq!((error.kind, error.why.as_str()), (OpenKind::Unsupported, why));
    }
}

/// Opens to a server that does `serving` and then nothing more, in virtual time.
async fn fails<F: Future<Output = Far>>(dtr: Option<bool>, serving: impl FnOnce(Far) -> F) -> OpenError {
    let (clock, driver) = Clock::paused();
    let driver = tokio::spawn(driver);
    let (near, far) = pipes(&clock, 4096);
    let (settings, limit) = (SerialSettings { dtr, ..SerialSettings::default() }, Duration::from_secs(3));
    let (opened, _far) =
        tokio::join!(soon(open_rfc2217(near, &settings, &clock, clock.now() + limit, limit)), serving(far));
    driver.abort();
    failure(opened)
}

#[tokio::test]
async fn a_server_of_something_else_is_refused_and_what_it_said_is_told() {
    let raw = fails(None, |mut far| async {
        far.say(b"SSH-2.0-OpenSSH\r\n").await;
        far
    })
    .await;
    assert_eq!(raw.kind, OpenKind::Refused);
    assert_eq!(
        raw.why,
        "it does not answer the offer of RFC 2217 within 3 s (it said 'SSH-2.0-OpenSSH\\r\\n'); is this a raw TCP port? \
         Then it is tcp://"
    );
    let telnet = fails(None, |mut far| async {
        far.say(&[IAC, DONT, COM_PORT]).await;
        far
    })
    .await;
    assert_eq!(telnet.kind, OpenKind::Refused);
    assert!(telnet.why.starts_with("it speaks Telnet, but refuses RFC 2217"), "{}", telnet.why);
    let echo = fails(None, |mut far| async {
        while !far.commands.iter().any(|(code, _)| *code == 1) {
            match far.hear().await {
                Said::Option(verb, option) => far.say(&[IAC, verb, option]).await,
                Said::Command(code, value) => far.say_command(code, &value).await,
                Said::Byte(_) => {}
            }
        }
        far
    })
    .await;
    assert_eq!(echo.kind, OpenKind::Refused);
    assert!(echo.why.starts_with("it sends back what it is sent"), "{}", echo.why);
}

#[tokio::test]
async fn a_server_that_hangs_up_is_refused_or_in_use() {
    for (words, kind) in [(&b""[..], OpenKind::Refused), (b"Port already in use\r\n", OpenKind::InUse)] {
        let (near, mut far) = pipes(&Clock::real(), 4096);
        far.say(words).await;
        drop(far);
        let error = failure(soon(open(near, &SerialSettings::default())).await);
        assert_eq!(error.kind, kind);
        assert!(error.why.starts_with("it ended the connection before the port was set up"), "{}", error.why);
        assert_eq!(error.why.contains("it said 'Port already in use\\r\\n'"), !words.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_confirmed_in_time_is_named() {
    let settings = fails(None, |mut far| async {
        far.accept().await;
        for code in [101, 102, 104] {
            let value = far.hear_command(code - 100).await;
            far.say_command(code, &value).await;
        }
        far
    })
    .await;
    assert_eq!(settings.kind, OpenKind::Unsupported);
    assert_eq!(
        settings.why,
        "parity: the server did not confirm N; flow control: the server did not confirm none within 3 s"
    );
    let lines = fails(Some(true), |mut far| async {
        far.agree().await;
        far
    })
    .await;
    assert_eq!(lines.why, "dtr: the server did not confirm it within 3 s");
}

// -- Bytes -------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_byte_goes_both_ways_as_it_is_however_it_is_cut() {
    let all: Vec<u8> = (0..=255).chain([255, 255, 0, 255]).collect();
    for capacity in CAPACITIES {
        let (mut pipe, mut far) = session(capacity).await;
        let (heard, pipe) = tokio::join!(far.hear_bytes(all.len()), async {
            write(&mut pipe, &all).await;
            // An escaped byte may be half on its way; that is said by whatever is done next.
            while pipe.queued_output() > 0 {
                assert!(is_quiet(&mut pipe));
                tokio::task::yield_now().await;
            }
            pipe
        });
        assert_eq!(heard, all);
        let (mut pipe, wire) = (pipe, escaped(&all));
        let (heard, ()) = tokio::join!(read_exactly(&mut pipe, all.len()), far.say(&wire));
        assert_eq!(heard, all);
        assert!(is_quiet(&mut pipe) && far.is_quiet());
    }
}

#[tokio::test]
async fn a_direct_read_gives_what_is_there_and_the_end_after_it() {
    let (mut pipe, mut far) = session(4096).await;
    assert_eq!(pipe.read_now(&mut BytesMut::new()).unwrap(), 0);
    far.say(&[&b"a\xff\xff"[..], &command(107, &[0x10]), b"b"].concat()).await;
    let mut into = BytesMut::new();
    assert_eq!((pipe.read_now(&mut into).unwrap(), &into[..]), (3, &b"a\xffb"[..]));
    far.say(b"bye").await;
    drop(far);
    assert_eq!(pipe.read_now(&mut BytesMut::new()).unwrap(), 3);
    for error in [pipe.read_now(&mut BytesMut::new()).unwrap_err(), read(&mut pipe).await.unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
    assert!(matches!(control(&mut pipe, Control::Break(true)).await, Err(ControlError::Lost(_))));
}

#[tokio::test]
async fn a_server_that_holds_is_not_written_to_until_it_lets_go() {
    let (mut pipe, mut far) = session(4096).await;
    far.say_command(108, &[]).await;
    assert!(is_quiet(&mut pipe));
    // Nobody reads; the writer itself hears when it may go on, and keeps what came before.
    let writing = tokio::spawn(async move {
        write(&mut pipe, b"S\r\n").await;
        pipe
    });
    tokio::task::yield_now().await;
    assert!(far.is_quiet(), "it was written to");
    far.say(&[&b"12.5"[..], &command(109, &[]), b" g"].concat()).await;
    assert_eq!(far.hear_bytes(3).await, b"S\r\n");
    let mut pipe = soon(writing).await.unwrap();
    assert_eq!(read_exactly(&mut pipe, 6).await, b"12.5 g");
}

#[tokio::test]
async fn whoever_reads_is_woken_by_bytes_that_a_control_has_met() {
    let (mut pipe, mut far) = session(4096).await;
    let woken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&woken);
    let waker = waker_fn(move || flag.store(true, std::sync::atomic::Ordering::SeqCst));
    assert!(pipe.poll_read(&mut Context::from_waker(&waker), &mut BytesMut::new()).is_pending());
    assert!(waits(&mut pipe, &Control::Break(true)));
    woken.store(false, std::sync::atomic::Ordering::SeqCst);
    far.say(&[&b"busy"[..], &command(105, &[5]), b"!"].concat()).await;
    assert_eq!(control(&mut pipe, Control::Break(true)).await.unwrap(), done());
    assert!(woken.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(read_exactly(&mut pipe, 5).await, b"busy!");
}

fn waker_fn(wake: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Call<F>(F);
    impl<F: Fn() + Send + Sync + 'static> std::task::Wake for Call<F> {
        fn wake(self: std::sync::Arc<Self>) {
            (self.0)();
        }
    }
    std::sync::Arc::new(Call(wake)).into()
}
