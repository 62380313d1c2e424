//! TCP, on real loopback sockets.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BytesMut;
use labtether::error::OpenKind;
use labtether::transport::control::{Control, ControlError, Controlled};
use labtether::transport::tcp::{TcpSettings, address, open_tcp, resolve};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::{Pipe, failure, fill, is_quiet, read, read_exactly, read_now, read_with_rest, soon, write};

async fn connection() -> (Pipe, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let opened = soon(open_tcp(&[address("127.0.0.1", port).unwrap()], &TcpSettings::default())).await.unwrap();
    assert_eq!((opened.port, opened.device), (format!("127.0.0.1:{port}"), None));
    (opened.pipe, server.accept().unwrap().0)
}

#[tokio::test]
async fn a_socket_carries_bytes_and_a_direct_read_takes_all_of_them() {
    let (mut host, mut instrument) = connection().await;
    write(&mut host, b"*IDN?\n").await;
    let mut heard = [0; 6];
    instrument.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"*IDN?\n");
    instrument.write_all(b"ACME\n").unwrap();
    assert_eq!(read_exactly(&mut host, 5).await, b"ACME\n");
    assert_eq!(host.read_now(&mut BytesMut::new()).unwrap(), 0);
    instrument.write_all(&[b'x'; 50_000]).unwrap();
    assert_eq!(read_now(&mut host, 50_000).await.len(), 50_000);
    assert!(is_quiet(&mut host) && !host.close_blocks() && host.bytes_per_second().is_none());
}

#[tokio::test]
async fn behind_a_read_that_was_full_the_rest_is_all_that_there_is() {
    let (mut host, mut instrument) = connection().await;
    // On a busy machine not all of it may be there when the first read returns.
    for _ in 0..100 {
        instrument.write_all(&[b'x'; 50_000]).unwrap();
        let (total, rest) = read_with_rest(&mut host).await;
        assert_eq!(read_exactly(&mut host, 50_000 - total).await.len(), 50_000 - total);
        if total == 50_000 && rest > 30_000 {
            return;
        }
    }
    panic!("the rest was never read");
}

#[tokio::test]
async fn a_half_written_message_goes_on_where_it_stopped() {
    let (mut host, mut instrument) = connection().await;
    let taken = fill(&mut host);
    // Nothing of it can be recalled.
    host.discard_output();
    let reading = std::thread::spawn(move || {
        let mut heard = vec![0; taken + 4];
        instrument.read_exact(&mut heard).map(|()| heard)
    });
    write(&mut host, b"end\n").await;
    assert!(reading.join().unwrap().unwrap().ends_with(b"xend\n"));
}

#[tokio::test]
async fn the_end_of_a_connection_is_an_error_that_says_which_end() {
    let (mut host, mut instrument) = connection().await;
    instrument.write_all(b"bye").unwrap();
    drop(instrument);
    assert_eq!(read_exactly(&mut host, 3).await, b"bye");
    for error in [read(&mut host).await.unwrap_err(), host.read_now(&mut BytesMut::new()).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the other side closed the connection");
    }
    let (mut host, instrument) = connection().await;
    socket2::SockRef::from(&instrument).set_linger(Some(Duration::ZERO)).unwrap();
    drop(instrument);
    assert_eq!(read(&mut host).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_output_can_end_while_replies_still_come() {
    let (mut host, mut instrument) = connection().await;
    write(&mut host, b"data").await;
    for _ in 0..2 {
        let ended = soon(poll_fn(|cx| host.poll_control(cx, &Control::WriteEof))).await;
        assert_eq!(ended.unwrap(), Controlled::Done(Vec::new()));
    }
    let mut heard = Vec::new();
    instrument.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"data");
    instrument.write_all(b"all of it").unwrap();
    assert_eq!(read_exactly(&mut host, 9).await, b"all of it");
    let written = soon(poll_fn(|cx| host.poll_write(cx, b"more"))).await.unwrap_err();
    assert_eq!(written.to_string(), "write_eof has ended the output");
    drop(instrument);
    assert_eq!(read(&mut host).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    // The other side has ended too: there is nothing left to be ended.
    let ended = soon(poll_fn(|cx| host.poll_control(cx, &Control::WriteEof))).await;
    assert_eq!(ended.unwrap(), Controlled::Done(Vec::new()));
    let other = soon(poll_fn(|cx| host.poll_control(cx, &Control::Break(true)))).await;
    assert!(matches!(other, Err(ControlError::Unsupported(why)) if why == "send_break: this is no serial line"));
}

/// The descriptor of the pipe that is connected to `instrument`: found by its address, as the pipe does not give it out.
fn socket_of(instrument: &TcpStream) -> OwnedFd {
    let peer = instrument.peer_addr().unwrap();
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers: Vec<i32> = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let copies = numbers.into_iter().filter_map(|n| pidfd_getfd(&own, n, PidfdGetfdFlags::empty()).ok());
    let is_it =
        |copy: &OwnedFd| socket2::SockRef::from(copy).local_addr().is_ok_and(|own| own.as_socket() == Some(peer));
    copies.into_iter().find(is_it).expect("no socket has that address")
}

#[tokio::test]
async fn a_connection_is_set_up_as_it_was_asked() {
    for (nodelay, keepalive) in [(true, Some(7)), (false, None)] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let settings = TcpSettings { nodelay, keepalive: keepalive.map(Duration::from_secs), tls: None };
        let _host = soon(open_tcp(&[address], &settings)).await.unwrap().pipe;
        let copy = socket_of(&server.accept().unwrap().0);
        let socket = socket2::SockRef::from(&copy);
        assert_eq!((socket.tcp_nodelay().unwrap(), socket.keepalive().unwrap()), (nodelay, keepalive.is_some()));
        if let Some(seconds) = keepalive {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(seconds));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7), "asked again more rarely");
        }
    }
}

#[tokio::test]
async fn closing_with_bytes_unread_does_not_lose_the_last_words() {
    let (mut host, mut instrument) = connection().await;
    instrument.write_all(&[b'x'; 100_000]).unwrap();
    write(&mut host, b"PARK\n").await;
    host.close();
    let mut heard = String::new();
    instrument.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "PARK\n");
}

#[tokio::test]
async fn a_connection_that_fails_says_why() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    drop(server);
    let error = failure(soon(open_tcp(&[address("127.0.0.1", port).unwrap()], &TcpSettings::default())).await);
    assert_eq!((error.kind, error.errno), (OpenKind::Refused, Some(111)));
    assert!(error.why.ends_with("nothing listens on that port"), "{}", error.why);
    let error = resolve("nonexistent.invalid", 5025).unwrap_err();
    assert_eq!(error.kind, OpenKind::Missing);
    assert!(error.why.starts_with("the host name does not resolve"), "{}", error.why);
}
