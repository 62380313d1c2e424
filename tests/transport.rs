//! The byte pipes on real pseudo-terminals, real loopback sockets and in memory. Real UARTs are not here: what differs on them is tested as
//! settings, beside the code.

#![cfg(test)]

#[path = "transport/control.rs"]
mod control;
#[path = "transport/identity.rs"]
mod identity;
#[path = "transport/rfc2217.rs"]
mod rfc2217;
#[path = "transport/rfc2217_controls.rs"]
mod rfc2217_controls;
#[path = "transport/serial.rs"]
mod serial;
#[path = "transport/tcp.rs"]
mod tcp;
#[path = "transport/telnet.rs"]
mod telnet;
#[path = "transport/tls.rs"]
mod tls;
#[path = "transport/trust.rs"]
mod trust;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use labtether::clock::Clock;
use labtether::error::{OpenError, OpenKind};
use labtether::transport::memory::memory_pipe;
use labtether::transport::ports::{PortInfo, Usb, ports};
use labtether::transport::{Opened, Transport};

type Pipe = Box<dyn Transport>;

/// The time is far more than anything here takes; and a wake-up that comes only with its end is none.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_secs(5)) => panic!("it hangs"),
        value = work => value,
    }
}

async fn read(pipe: &mut Pipe) -> io::Result<Vec<u8>> {
    let mut into = BytesMut::new();
    soon(poll_fn(|cx| pipe.poll_read(cx, &mut into))).await?;
    Ok(into.to_vec())
}

async fn read_exactly(pipe: &mut Pipe, n: usize) -> Vec<u8> {
    let mut into = Vec::new();
    while into.len() < n {
        into.extend(read(pipe).await.unwrap());
    }
    into
}

async fn write(pipe: &mut Pipe, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = soon(poll_fn(|cx| pipe.poll_write(cx, rest))).await.unwrap();
        assert!(n > 0 && n <= rest.len());
        rest = &rest[n..];
    }
}

/// Writes until nothing more is taken; how much that was.
fn fill(pipe: &mut Pipe) -> usize {
    let mut taken = 0;
    while let Poll::Ready(n) = pipe.poll_write(&mut Context::from_waker(Waker::noop()), &[b'x'; 1000]) {
        taken += n.unwrap();
    }
    taken
}

fn is_quiet(pipe: &mut Pipe) -> bool {
    pipe.poll_read(&mut Context::from_waker(Waker::noop()), &mut BytesMut::new()).is_pending()
}

/// Reads directly until that many bytes are there: a terminal hands them over on a kernel thread of its own.
async fn read_now(pipe: &mut Pipe, n: usize) -> BytesMut {
    let mut into = BytesMut::new();
    soon(async {
        while into.len() < n {
            let before = into.len();
            assert_eq!(pipe.read_now(&mut into).unwrap(), into.len() - before);
            tokio::task::yield_now().await;
        }
    })
    .await;
    into
}

/// Reads once, and then what there is besides; how much that was together, and how much of it the second time.
async fn read_with_rest(pipe: &mut Pipe) -> (usize, usize) {
    let mut into = BytesMut::new();
    soon(poll_fn(|cx| {
        let first = std::task::ready!(pipe.poll_read(cx, &mut into)).unwrap();
        let rest = pipe.read_rest(cx, &mut into).unwrap();
        assert_eq!(into.len(), first + rest);
        Poll::Ready((into.len(), rest))
    }))
    .await
}

fn failure(opened: Result<Opened, OpenError>) -> OpenError {
    opened.err().expect("it opened")
}

// -- In memory ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_pipe_in_memory_holds_so_much_and_then_waits() {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    let (near, far) = memory_pipe(&clock, 4);
    let (mut near, mut far): (Pipe, Pipe) = (Box::new(near), Box::new(far));
    let start = clock.now();
    let time = clock.clone();
    let reading = tokio::spawn(async move {
        time.sleep(Duration::from_secs(3600)).await;
        let heard = read_exactly(&mut far, 10).await;
        write(&mut far, b"ok").await;
        heard
    });
    write(&mut near, b"0123456789").await;
    assert!(clock.now().since(start) >= Duration::from_secs(3600), "ten bytes went into four");
    assert_eq!(soon(reading).await.unwrap(), b"0123456789");
    // What was said before the end is heard, then the end.
    assert_eq!(read_exactly(&mut near, 2).await, b"ok");
    for _ in 0..2 {
        assert_eq!(read(&mut near).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(near.read_now(&mut BytesMut::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
    let written = soon(poll_fn(|cx| near.poll_write(cx, b"S"))).await;
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(near.queued_output(), 0);
}

#[tokio::test]
async fn no_time_passes_while_bytes_in_memory_go_back_and_forth() {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    let (near, far) = memory_pipe(&clock, 64);
    let (mut near, mut far): (Pipe, Pipe) = (Box::new(near), Box::new(far));
    let alarm = clock.clone();
    // Somebody waits for something: the clock has a moment to jump to.
    tokio::spawn(async move { alarm.sleep(Duration::from_secs(3600)).await });
    tokio::task::yield_now().await;
    let start = clock.now();
    let echo = tokio::spawn(async move {
        while let Ok(heard) = read(&mut far).await {
            write(&mut far, &heard).await;
        }
    });
    for _ in 0..100 {
        write(&mut near, b"S").await;
        assert_eq!(read(&mut near).await.unwrap(), b"S");
    }
    assert_eq!(clock.now(), start);
    near.close();
    soon(echo).await.unwrap();
}

#[tokio::test]
async fn bytes_in_memory_can_be_thrown_away_and_a_waiting_side_hears_of_it() {
    let (near, far) = memory_pipe(&Clock::real(), 4);
    let (mut near, mut far): (Pipe, Pipe) = (Box::new(near), Box::new(far));
    write(&mut near, b"abcd").await;
    assert_eq!(near.queued_output(), 4);
    near.discard_output();
    assert!(near.queued_output() == 0 && is_quiet(&mut far));
    write(&mut near, b"efgh").await;
    let waiting = tokio::spawn(async move {
        write(&mut near, b"ijkl").await;
        near
    });
    tokio::task::yield_now().await;
    far.discard_input();
    assert_eq!(read_exactly(&mut far, 4).await, b"ijkl");
    let mut near = soon(waiting).await.unwrap();
    let reading = tokio::spawn(async move { read(&mut near).await });
    tokio::task::yield_now().await;
    far.close();
    assert_eq!(soon(reading).await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

// -- Ports -------------------------------------------------------------------------------------------------------------

fn adapter(device: &str, vid: Option<u16>, serial_number: &str, interface: u8) -> PortInfo {
    PortInfo {
        device: device.to_owned(),
        name: device.trim_start_matches("/dev/").to_owned(),
        description: "Quad RS232".to_owned(),
        vid,
        pid: vid.map(|_| 0x6011),
        serial_number: Some(serial_number.to_owned()),
        manufacturer: None,
        product: None,
        interface: Some(interface),
        location: None,
    }
}

#[test]
fn an_adapter_is_found_by_what_is_known_of_it() {
    let there = [
        adapter("/dev/ttyS0", None, "", 0),
        adapter("/dev/ttyUSB0", Some(0x0403), "A1", 0),
        adapter("/dev/ttyUSB1", Some(0x0403), "A1", 1),
        adapter("/dev/ttyUSB2", Some(0x10c4), "A2", 0),
    ];
    let ftdi = Usb { vid: Some(0x0403), ..Usb::default() };
    let second = Usb { interface: Some(1), ..ftdi.clone() };
    assert_eq!(second.resolve(&there).unwrap(), "/dev/ttyUSB1");
    assert_eq!(Usb { serial_number: Some("A2".to_owned()), ..Usb::default() }.resolve(&there).unwrap(), "/dev/ttyUSB2");
    let error = ftdi.resolve(&there).unwrap_err();
    assert_eq!(error.kind, OpenKind::Ambiguous);
    assert_eq!(
        error.why,
        "2 ports are a USB adapter with vid=0x0403: /dev/ttyUSB0 (Quad RS232, 0403:6011, serial number A1, interface 0), \
         /dev/ttyUSB1 (Quad RS232, 0403:6011, serial number A1, interface 1); say which with serial_number= or interface="
    );
    let error = Usb { pid: Some(0x2303), ..Usb::default() }.resolve(&there).unwrap_err();
    assert_eq!(error.kind, OpenKind::Missing);
    assert!(
        error.why.starts_with("no USB adapter with pid=0x2303 is plugged in; there are /dev/ttyS0"),
        "{}",
        error.why
    );
    assert!(Usb::default().resolve(&[]).unwrap_err().why.ends_with("this machine has no serial ports"));
    assert!(ports().is_sorted_by(|a, b| a.device <= b.device));
}
