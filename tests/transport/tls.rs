//! TLS as a pipe, on real loopback sockets, against rustls as a server.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use labtether::transport::control::{Control, ControlError, Controlled};
use labtether::transport::tcp::{address, open_tcp};

use crate::identity::{Identity, Served, connection, plain, settings, trusting};
use crate::{Pipe, is_quiet, read, read_exactly, read_now, soon, write};

/// Writes until the system itself takes no more; how much that was. tokio says so earlier, and a moment later there may be room again.
async fn fill(pipe: &mut Pipe) -> usize {
    let mut taken = 0;
    for _ in 0..3 {
        while pipe.queued_output() == 0 {
            taken += crate::fill(pipe);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while pipe.queued_output() == 0 {
        taken += crate::fill(pipe);
    }
    taken
}

fn hear(stream: &mut Served, n: usize) -> Vec<u8> {
    let mut heard = vec![0; n];
    stream.read_exact(&mut heard).unwrap();
    heard
}

// -- Bytes -------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn bytes_go_both_ways_and_a_direct_read_takes_all_of_them() {
    let (mut host, instrument) = connection(|mut stream| {
        assert_eq!(hear(&mut stream, 6), b"*IDN?\n");
        stream.write_all(b"ACME\n").unwrap();
        assert_eq!(hear(&mut stream, 1), b"!");
        stream.write_all(&[b'x'; 50_000]).unwrap();
        hear(&mut stream, 1)
    })
    .await;
    write(&mut host, b"*IDN?\n").await;
    // Nobody has waited for it: nothing but the system itself knows that it has come.
    assert_eq!(read_now(&mut host, 5).await, "ACME\n");
    assert_eq!(host.read_now(&mut BytesMut::new()).unwrap(), 0);
    write(&mut host, b"!").await;
    assert_eq!(read_exactly(&mut host, 50_000).await, vec![b'x'; 50_000]);
    assert!(is_quiet(&mut host) && !host.close_blocks() && host.bytes_per_second().is_none());
    assert_eq!(host.queued_output(), 0);
    write(&mut host, b".").await;
    assert_eq!(instrument.join().unwrap(), b".");
}

#[tokio::test]
async fn what_a_full_socket_kept_is_sent_by_whoever_reads() {
    let (tell, told) = std::sync::mpsc::channel();
    let (host, instrument) = connection(move |mut stream| {
        let n: usize = told.recv().unwrap();
        let heard = hear(&mut stream, n);
        stream.write_all(b"ok").unwrap();
        heard
    })
    .await;
    let host = Arc::new(Mutex::new(host));
    let (reader, mut heard) = (Arc::clone(&host), BytesMut::new());
    let reading = tokio::spawn(async move {
        let read = poll_fn(|cx| reader.lock().unwrap().poll_read(cx, &mut heard)).await;
        read.map(|_| heard)
    });
    tokio::task::yield_now().await;
    // As when a thread writes in place of the link's task, which sleeps: all of it is accepted, so that nobody has to be told.
    let mut taken = 0;
    while host.lock().unwrap().queued_output() == 0 {
        let wrote = host.lock().unwrap().poll_write(&mut Context::from_waker(Waker::noop()), &[b'x'; 1000]);
        if let Poll::Ready(n) = wrote {
            taken += n.unwrap();
        }
        tokio::task::yield_now().await;
    }
    tell.send(taken).unwrap();
    assert_eq!(soon(reading).await.unwrap().unwrap(), "ok");
    assert_eq!(instrument.join().unwrap(), vec![b'x'; taken]);
}

#[tokio::test]
async fn a_half_written_message_goes_on_where_it_stopped() {
    let (tell, told) = std::sync::mpsc::channel();
    let (mut host, instrument) = connection(move |mut stream| {
        let n: usize = told.recv().unwrap();
        hear(&mut stream, n)
    })
    .await;
    let taken = fill(&mut host).await;
    // A record that was begun cannot be recalled, or nothing after it could be read.
    host.discard_output();
    tell.send(taken + 4).unwrap();
    write(&mut host, b"end\n").await;
    // As when the link closes: nobody reads any more, and what is left is looked after.
    soon(async {
        while host.queued_output() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(instrument.join().unwrap().ends_with(b"xend\n"));
}

#[tokio::test]
async fn discarded_input_is_gone_and_the_next_is_readable() {
    let (mut host, instrument) = connection(|mut stream| {
        stream.write_all(b"stale").unwrap();
        assert_eq!(hear(&mut stream, 1), b"?");
        stream.write_all(b"fresh").unwrap();
        hear(&mut stream, 1)
    })
    .await;
    // All of it has come when the first byte has.
    let mut first = BytesMut::new();
    soon(poll_fn(|cx| host.poll_read(cx, &mut first))).await.unwrap();
    assert_eq!(first, "stale");
    write(&mut host, b"?").await;
    assert_eq!(read_now(&mut host, 5).await, "fresh");
    host.discard_input();
    assert!(is_quiet(&mut host));
    write(&mut host, b".").await;
    instrument.join().unwrap();
}

// -- Ends --------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_output_can_end_while_replies_still_come() {
    let (mut host, instrument) = connection(|mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        stream.write_all(b"all of it").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        heard
    })
    .await;
    write(&mut host, b"data").await;
    for _ in 0..2 {
        let ended = soon(poll_fn(|cx| host.poll_control(cx, &Control::WriteEof))).await;
        assert_eq!(ended.unwrap(), Controlled::Done(Vec::new()));
    }
    assert_eq!(read_exactly(&mut host, 9).await, b"all of it");
    assert_eq!(instrument.join().unwrap(), b"data");
    let written = soon(poll_fn(|cx| host.poll_write(cx, b"more"))).await.unwrap_err();
    assert_eq!(written.to_string(), "write_eof has ended the output");
    let other = soon(poll_fn(|cx| host.poll_control(cx, &Control::ReadLines))).await;
    assert!(matches!(other, Err(ControlError::Unsupported(why)) if why == "lines: this is no serial line"));
}

#[tokio::test]
async fn an_end_without_a_goodbye_is_told_from_one_with() {
    let (mut host, instrument) = connection(|mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    })
    .await;
    instrument.join().unwrap();
    assert_eq!(read_exactly(&mut host, 3).await, b"bye");
    for error in [read(&mut host).await.unwrap_err(), host.read_now(&mut BytesMut::new()).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the other side closed the connection");
    }
    let (mut host, instrument) = connection(|mut stream| stream.write_all(b"bye").unwrap()).await;
    instrument.join().unwrap();
    assert_eq!(read_exactly(&mut host, 3).await, b"bye");
    for error in [read(&mut host).await.unwrap_err(), host.read_now(&mut BytesMut::new()).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().starts_with("the connection ended without TLS's goodbye"), "{error}");
    }
}

#[tokio::test]
async fn what_was_forged_on_the_way_is_never_read() {
    let (mut host, instrument) = connection(|mut stream| {
        stream.write_all(b"true").unwrap();
        // A record of TLS 1.2's form, as application data look in 1.3 too, that nobody has signed.
        stream.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
        stream.sock.write_all(&[0; 32]).unwrap();
        stream.read(&mut [0]).map(drop)
    })
    .await;
    assert_eq!(read_exactly(&mut host, 4).await, b"true");
    let error = read(&mut host).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().starts_with("TLS failed: "), "{error}");
    host.close();
    assert!(instrument.join().unwrap().is_err());
}

#[tokio::test]
async fn closing_says_goodbye_and_does_not_lose_the_last_words() {
    let (said, wait) = std::sync::mpsc::channel();
    let (mut host, instrument) = connection(move |mut stream| {
        stream.write_all(&[b'x'; 100_000]).unwrap();
        said.send(()).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).map(|_| heard)
    })
    .await;
    write(&mut host, b"PARK\n").await;
    wait.recv().unwrap();
    host.close();
    // rustls tells an end without goodbye.
    assert_eq!(instrument.join().unwrap().unwrap(), "PARK\n");
}

#[tokio::test]
async fn closing_does_not_wait_for_one_who_does_not_read() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (mut host, instrument) = connection(move |stream| {
        let _ = wait.recv();
        drop(stream);
    })
    .await;
    // The handshake may have left something to be read.
    assert!(is_quiet(&mut host));
    fill(&mut host).await;
    assert!(host.close_blocks());
    let closing = tokio::task::spawn_blocking(move || host.close());
    soon(closing).await.unwrap();
    drop(done);
    instrument.join().unwrap();
}

#[tokio::test]
async fn a_handshake_that_is_given_up_leaves_nothing() {
    let (port, server) = plain(|mut socket| {
        let mut hello = Vec::new();
        socket.read_to_end(&mut hello).map(|n| n > 0)
    });
    let settings = settings(trusting(Identity::here().pem()));
    let addresses = [address("127.0.0.1", port).unwrap()];
    let mut opening = Box::pin(open_tcp(&addresses, &settings));
    // Connected, and the first words of TLS are said: nothing answers.
    tokio::select! {
        opened = &mut opening => panic!("{:?}", opened.err()),
        () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
    }
    drop(opening);
    // An end, or a reset.
    let ended = soon(tokio::task::spawn_blocking(move || server.join().unwrap())).await.unwrap();
    assert!(ended.unwrap_or(true));
}

/// Nothing is polled with this waker.
#[tokio::test]
async fn a_pipe_that_was_never_read_can_be_written() {
    let (mut host, instrument) = connection(|mut stream| hear(&mut stream, 1)).await;
    let wrote = host.poll_write(&mut Context::from_waker(Waker::noop()), b"S");
    assert!(matches!(wrote, Poll::Ready(Ok(1))));
    assert_eq!(instrument.join().unwrap(), b"S");
}
