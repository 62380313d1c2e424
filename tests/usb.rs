//! USB bulk endpoints as a pipe, on a bus that is not there: there is no USB on the machines that run these tests. What real devices and
//! nusb do is not seen here; which device is meant, and what its refusals mean, is.

#![cfg(test)]

#[path = "usb/bus.rs"]
mod bus;
#[path = "usb/choosing.rs"]
mod choosing;
mod common;
#[path = "usb/link.rs"]
mod link;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bus::{Device, PACKET};
use bytes::BytesMut;
use labtether::framing::{Framing, Packets};
use labtether::transport::Transport;
use labtether::transport::packets::{Joined, Manner, Side, pipe};

type Pipe = Box<dyn Transport>;

pub(crate) const MARKED: Joined = Joined::Marked { packet: Packets::mark, refusal: Packets::mark_refusal };

pub(crate) fn manner(joined: Joined, transfer_size: usize) -> Manner {
    Manner { joined, transfer_size, zero_packet: false }
}

fn opened(joined: Joined, transfer_size: usize) -> (Pipe, Device) {
    let device = Device::default();
    let mut pipe = pipe(device.claimed(), manner(joined, transfer_size));
    // As an actor does first; from then on the device is asked.
    assert!(pipe.poll_read(&mut unheard(), &mut BytesMut::new()).is_pending());
    (pipe, device)
}

fn unheard() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// All that can be read now.
fn heard(pipe: &mut Pipe) -> BytesMut {
    let mut into = BytesMut::new();
    while let Poll::Ready(Ok(n)) = pipe.poll_read(&mut unheard(), &mut into) {
        assert!(n > 0);
    }
    into
}

/// The messages that can be read now; "refused" for one that was.
fn messages(pipe: &mut Pipe) -> Vec<Vec<u8>> {
    let (mut stream, framing) = (heard(pipe), Framing::from(Packets));
    let mut found = Vec::new();
    loop {
        match framing.take(&mut stream) {
            Ok(Some(body)) => found.push(body.to_vec()),
            Err(error) => {
                assert!(error.to_string().starts_with("the device refused it"), "{error}");
                found.push(b"refused".to_vec());
            }
            Ok(None) => break,
        }
    }
    assert!(stream.is_empty());
    found
}

fn lost(pipe: &mut Pipe) -> io::Error {
    match pipe.poll_read(&mut unheard(), &mut BytesMut::new()) {
        Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn writes(pipe: &mut Pipe, bytes: &[u8]) -> Option<usize> {
    match pipe.poll_write(&mut unheard(), bytes) {
        Poll::Ready(n) => Some(n.unwrap()),
        Poll::Pending => None,
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// -- What comes --------------------------------------------------------------------------------------------------------

#[test]
fn one_transfer_is_one_message() {
    let (mut pipe, device) = opened(MARKED, 4096);
    device.packets(&[b"one", b"two", b"\xff\xff\xff\xff"]);
    assert_eq!(messages(&mut pipe), [&b"one"[..], b"two", b"\xff\xff\xff\xff"]);
    // More than a packet: full ones, and a short one that ends it.
    let long: Vec<u8> = (0..200).collect();
    device.say(&long);
    device.say(b"next");
    assert_eq!(messages(&mut pipe), [&long[..], b"next"]);
    // Exactly two packets, ended by one of no bytes, which is no message.
    device.say(&long[..2 * PACKET]);
    assert!(messages(&mut pipe).is_empty(), "it has not ended");
    device.packets(&[b""]);
    assert_eq!(messages(&mut pipe), [&long[..2 * PACKET]]);
    // Without that end, nobody can tell where the next begins.
    device.say(&long[..PACKET]);
    device.say(b"next");
    assert_eq!(messages(&mut pipe), [[&long[..PACKET], b"next"].concat()]);
    // By itself it is a message.
    device.packets(&[b"", b"a", b""]);
    assert_eq!(messages(&mut pipe), [&b""[..], b"a", b""]);
}

#[test]
fn a_device_that_never_ends_a_message_has_transfers_of_one_packet() {
    // Rounded up to a whole one.
    let (mut pipe, device) = opened(MARKED, 1);
    let long: Vec<u8> = (0..200).collect();
    device.say(&long);
    assert_eq!(messages(&mut pipe), long.chunks(PACKET).collect::<Vec<_>>());
    device.packets(&[&long[..PACKET], b"", b"", b"a"]);
    assert_eq!(messages(&mut pipe), [&long[..PACKET], b"", b"a"], "the first one is the end of what was full");
}

#[test]
fn nothing_is_lost_or_swapped_when_much_comes_at_once() {
    let (mut pipe, device) = opened(MARKED, 256);
    let all: Vec<Vec<u8>> = (0..1000_usize).map(|n| n.to_string().repeat(1 + n % 40).into_bytes()).collect();
    for message in &all {
        device.say(message);
        if message.len() % PACKET == 0 {
            device.packets(&[b""]);
        }
    }
    assert_eq!(messages(&mut pipe), all);
}

#[test]
fn in_a_stream_packets_are_joined() {
    let (mut pipe, device) = opened(Joined::Stream, 4096);
    device.packets(&[b"12", b"", b".5\r\n"]);
    assert_eq!(heard(&mut pipe), "12.5\r\n");
    device.packets(&[b""]);
    assert!(pipe.poll_read(&mut unheard(), &mut BytesMut::new()).is_pending(), "nothing is not something");
    device.packets(&[b"ok"]);
    let mut into = BytesMut::new();
    assert_eq!((pipe.read_now(&mut into).unwrap(), &into[..]), (2, &b"ok"[..]));
    assert_eq!(pipe.read_now(&mut into).unwrap(), 0);
    assert!(pipe.bytes_per_second().is_none() && pipe.close_blocks());
}

#[test]
fn whoever_reads_is_woken_even_if_others_have_looked() {
    let (mut pipe, device) = opened(MARKED, 4096);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(pipe.poll_read(&mut Context::from_waker(&waker), &mut BytesMut::new()).is_pending());
    // By what becomes of what was written, too.
    device.busy(true);
    assert_eq!(writes(&mut pipe, b"S"), Some(1));
    let before = bell.0.load(Ordering::SeqCst);
    device.busy(false);
    assert!(bell.0.load(Ordering::SeqCst) > before);
    // All of these look at the bus.
    assert_eq!(pipe.read_now(&mut BytesMut::new()).unwrap(), 0);
    assert_eq!(pipe.queued_output(), 0);
    assert_eq!(writes(&mut pipe, b"S"), Some(1));
    pipe.discard_input();
    let before = bell.0.load(Ordering::SeqCst);
    device.say(b"12.5");
    assert!(bell.0.load(Ordering::SeqCst) > before);
    assert_eq!(messages(&mut pipe), [b"12.5"]);
}

// -- What goes ---------------------------------------------------------------------------------------------------------

#[test]
fn what_is_written_at_once_is_one_transfer() {
    let (mut pipe, device) = opened(MARKED, 128);
    let long = vec![7; 1000];
    for message in [&b"*IDN?"[..], &long, &long[..PACKET]] {
        assert_eq!(writes(&mut pipe, message), Some(message.len()));
        assert_eq!(device.taken(), [message]);
    }
    // A stream has no borders, and no need for transfers without end.
    let (mut pipe, device) = opened(Joined::Stream, 128);
    assert_eq!(writes(&mut pipe, &long), Some(128));
    assert_eq!(device.taken(), [&long[..128]]);
}

#[test]
fn a_message_that_fills_its_last_packet_is_ended_where_that_is_wanted() {
    let device = Device::default();
    let manner = Manner { zero_packet: true, ..manner(MARKED, 128) };
    let mut pipe = pipe(device.claimed(), manner);
    assert_eq!(writes(&mut pipe, &[7; 2 * PACKET]), Some(2 * PACKET));
    assert_eq!(writes(&mut pipe, &[7; PACKET + 1]), Some(PACKET + 1));
    assert_eq!(device.taken(), [vec![7; 2 * PACKET], Vec::new(), vec![7; PACKET + 1]]);
}

#[test]
fn one_transfer_is_under_way_and_can_be_taken_back() {
    let (mut pipe, device) = opened(MARKED, 128);
    device.busy(true);
    assert_eq!(writes(&mut pipe, b"MOVE"), Some(4));
    assert_eq!(pipe.queued_output(), 4);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(pipe.poll_write(&mut Context::from_waker(&waker), b"HALT").is_pending());
    pipe.discard_output();
    assert!(bell.0.load(Ordering::SeqCst) > 0, "who waits for room is woken");
    device.busy(false);
    assert_eq!(writes(&mut pipe, b"HALT"), Some(4));
    assert_eq!(device.taken(), [b"HALT"]);
    assert_eq!(pipe.queued_output(), 0);
    device.busy(true);
    assert_eq!(writes(&mut pipe, b"PARK"), Some(4));
    assert_eq!(pipe.queued_output(), 4);
    // Nobody has to poll for it to be seen that all has gone.
    device.busy(false);
    assert_eq!((pipe.queued_output(), device.taken()), (0, vec![b"PARK".to_vec()]));
    pipe.discard_output();
    assert_eq!(writes(&mut pipe, b"S"), Some(1));
    assert_eq!(device.taken(), [b"S"]);
}

#[test]
fn discarded_input_is_gone_however_far_it_had_come() {
    let (mut pipe, device) = opened(MARKED, 4096);
    device.say(b"read");
    assert_eq!(messages(&mut pipe), [b"read"]);
    // On its way, half of it; and some that has come.
    device.packets(&[b"old", b"older", &[7; PACKET]]);
    pipe.discard_input();
    device.packets(&[b"new"]);
    assert_eq!(messages(&mut pipe), [b"new"]);
    for n in 0..20_u8 {
        device.packets(&[&[n; 3]]);
        pipe.discard_input();
        device.packets(&[&[n; 2]]);
        assert_eq!(messages(&mut pipe), [[n; 2]]);
    }
}

// -- What goes wrong ---------------------------------------------------------------------------------------------------

#[test]
fn a_refusal_is_told_in_its_place_and_things_go_on() {
    let (mut pipe, device) = opened(MARKED, 4096);
    device.packets(&[b"before"]);
    device.stall(Side::Read);
    assert_eq!(messages(&mut pipe), [&b"before"[..], b"refused"]);
    assert_eq!(device.halts_cleared(Side::Read), 1);
    device.packets(&[b"after"]);
    assert_eq!(messages(&mut pipe), [b"after"]);
    // And of what was written.
    device.busy(true);
    writes(&mut pipe, b"NONSENSE").unwrap();
    device.stall(Side::Write);
    assert_eq!(messages(&mut pipe), [b"refused"]);
    device.busy(false);
    assert_eq!(writes(&mut pipe, b"*IDN?"), Some(5));
    assert_eq!((device.halts_cleared(Side::Write), device.taken()), (1, vec![b"*IDN?".to_vec()]));
    // Nothing is written before the endpoint is in order again.
    device.busy(true);
    writes(&mut pipe, b"NONSENSE").unwrap();
    device.busy_refusing();
    assert_eq!(writes(&mut pipe, b"*IDN?"), None, "the halt is being cleared");
    assert_eq!(writes(&mut pipe, b"*IDN?"), Some(5));
    // It may refuse as often as it likes, if it says something between.
    for _ in 0..20 {
        device.stall(Side::Read);
        device.packets(&[b"ok"]);
        messages(&mut pipe);
    }
    device.packets(&[b"after"]);
    assert_eq!(messages(&mut pipe), [b"after"]);
}

#[test]
fn a_refusal_ends_a_stream_as_does_a_halt_that_stays() {
    let (mut pipe, device) = opened(Joined::Stream, 4096);
    device.packets(&[b"12.5"]);
    device.stall(Side::Read);
    assert_eq!(heard(&mut pipe), "12.5");
    assert_eq!(lost(&mut pipe).to_string(), "the device refused to answer (its endpoint stalled)");
    let (mut pipe, device) = opened(Joined::Stream, 4096);
    device.busy(true);
    writes(&mut pipe, b"NONSENSE").unwrap();
    device.stall(Side::Write);
    assert_eq!(lost(&mut pipe).to_string(), "the device refused what was written (its endpoint stalled)");
    let (mut pipe, device) = opened(MARKED, 4096);
    device.keep_the_halt();
    device.stall(Side::Read);
    assert_eq!(messages(&mut pipe), [b"refused"]);
    assert_eq!(lost(&mut pipe).to_string(), "a USB transfer failed: the halt stays");
    let (mut pipe, device) = opened(MARKED, 4096);
    device.stall_for_ever(Side::Read);
    for _ in 0..20 {
        heard(&mut pipe);
    }
    assert_eq!(lost(&mut pipe).to_string(), "the device refuses everything (its endpoint stalls again and again)");
    let (mut pipe, device) = opened(MARKED, 4096);
    device.fail(Side::Read);
    assert_eq!(lost(&mut pipe).to_string(), "a USB transfer failed: babble");
}

#[test]
fn a_device_that_is_unplugged_in_the_middle_gives_what_it_had_said_and_no_half_message() {
    for (joined, whole) in [(MARKED, &b"\0\0\0\x05whole"[..]), (Joined::Stream, b"wholehalfhalf")] {
        let (mut pipe, device) = opened(joined, 4096);
        device.busy(true);
        writes(&mut pipe, b"S").unwrap();
        device.packets(&[b"whole", &b"half".repeat(PACKET / 4)]);
        device.unplug();
        let heard = heard(&mut pipe);
        assert!(heard.starts_with(whole), "{heard:?}");
        assert_eq!(heard.len(), if whole.len() == 9 { 9 } else { 5 + PACKET });
        for _ in 0..2 {
            assert_eq!(lost(&mut pipe).kind(), io::ErrorKind::UnexpectedEof);
            assert!(pipe.read_now(&mut BytesMut::new()).is_err());
            let Poll::Ready(Err(error)) = pipe.poll_write(&mut unheard(), b"S") else { panic!("it was written") };
            assert_eq!(error.to_string(), "the device was unplugged");
        }
        assert_eq!(pipe.queued_output(), 0);
        pipe.discard_input();
        pipe.discard_output();
        pipe.close();
        assert!(device.is_closed());
    }
}
