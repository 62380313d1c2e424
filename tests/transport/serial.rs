//! Serial ports, on real pseudo-terminals.

use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use labtether::error::{OpenError, OpenKind};
use labtether::transport::Opened;
use labtether::transport::ports::ports;
use labtether::transport::pty::Pty;
use labtether::transport::serial::{Parity, Rs485, SerialSettings, StopBits, device_number, open_serial};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::runtime::Handle;

use crate::control::aside;
use crate::{Pipe, failure, fill, is_quiet, read, read_exactly, read_now, read_with_rest, soon, write};

fn serial(path: &str, settings: &SerialSettings) -> Result<Opened, OpenError> {
    open_serial(path, settings, &Handle::current(), aside())
}

/// A pseudo-terminal: the instrument's side, its path, and the host's side.
fn wire() -> (Pipe, String, Pipe) {
    let (pty, path) = Pty::open().unwrap();
    let host = serial(&path, &SerialSettings::default()).unwrap().pipe;
    (Box::new(pty), path, host)
}

#[tokio::test]
async fn every_byte_goes_both_ways_as_it_is() {
    let (mut instrument, path, mut host) = wire();
    let all: Vec<u8> = (0..=255).collect();
    write(&mut host, &all).await;
    assert_eq!(read_exactly(&mut instrument, 256).await, all);
    write(&mut instrument, &all).await;
    assert_eq!(read_exactly(&mut host, 256).await, all);
    assert!(is_quiet(&mut host), "an echo");
    assert_eq!(host.bytes_per_second(), None);
    assert!(host.close_blocks());
    assert_eq!(device_number(&path), device_number(&fs::canonicalize(&path).unwrap().to_string_lossy()));
}

#[tokio::test]
async fn an_open_port_says_where_it_leads() {
    let (_instrument, path) = Pty::open().unwrap();
    let link = std::env::temp_dir().join(format!("labtether-link-{}", std::process::id()));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let opened = serial(link.to_str().unwrap(), &SerialSettings::default());
    let number = device_number(link.to_str().unwrap());
    fs::remove_file(&link).unwrap();
    let opened = opened.unwrap();
    assert_eq!((opened.port, opened.device, opened.notices), (path.clone(), device_number(&path), Vec::new()));
    assert!(number.is_some() && number == device_number(&path));
    assert_eq!(device_number("/etc/passwd"), None);
    assert_eq!(device_number("/dev/no-such-port"), None);
}

#[tokio::test]
async fn an_unplugged_port_is_an_error_and_never_an_empty_read() {
    let (instrument, _, mut host) = wire();
    let pending = tokio::spawn(async move { (read(&mut host).await, host) });
    tokio::task::yield_now().await;
    drop(instrument);
    let (heard, mut host) = soon(pending).await.unwrap();
    let direct = host.read_now(&mut BytesMut::new());
    let written = soon(poll_fn(|cx| host.poll_write(cx, b"S\r\n"))).await;
    for error in [heard.unwrap_err(), direct.unwrap_err(), written.unwrap_err(), read(&mut host).await.unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().starts_with("the device hung up"), "{error}");
    }
    host.discard_output();
    host.discard_input();
    assert_eq!(host.queued_output(), 0);
    host.close();
}

#[tokio::test]
async fn a_direct_read_sees_what_has_come_and_takes_all_of_it() {
    let (mut instrument, _, mut host) = wire();
    assert_eq!(host.read_now(&mut BytesMut::new()).unwrap(), 0);
    write(&mut instrument, b"12.5 g\r\n").await;
    assert_eq!(read_now(&mut host, 8).await, "12.5 g\r\n");
    // More than a terminal gives out at once, and none of it twice.
    write(&mut instrument, &[b'x'; 10_000]).await;
    assert_eq!(host.read_now(&mut BytesMut::new()).unwrap(), 10_000);
    assert!(is_quiet(&mut host));
    write(&mut host, b"S\r\n").await;
    assert_eq!(read_now(&mut instrument, 3).await, "S\r\n");
}

#[tokio::test]
async fn behind_a_read_that_gave_something_the_rest_is_all_that_there_is() {
    let (mut instrument, _, mut host) = wire();
    write(&mut instrument, &[b'x'; 10_000]).await;
    let (total, rest) = read_with_rest(&mut host).await;
    assert_eq!((total, is_quiet(&mut host)), (10_000, true));
    assert!(rest > 4096, "{rest}");
    // Tokio is told of what comes after that all the same.
    write(&mut instrument, b"12.5 g\r\n").await;
    assert_eq!(read_exactly(&mut host, 8).await, b"12.5 g\r\n");
}

#[tokio::test]
async fn discarding_makes_room_on_a_line_that_nobody_reads() {
    let (mut instrument, _, mut host) = wire();
    let taken = fill(&mut host);
    assert!(taken > 4096, "{taken}");
    host.discard_output();
    // No waiting: nothing would wake us.
    let urgent = host.poll_write(&mut Context::from_waker(Waker::noop()), b"HALT\n");
    assert!(matches!(urgent, Poll::Ready(Ok(5))), "{urgent:?}");
    let mut heard = Vec::new();
    while !heard.ends_with(b"HALT\n") {
        heard.extend(read(&mut instrument).await.unwrap());
    }
    assert!(heard.len() < taken, "nothing was discarded: {} of {taken}", heard.len());
}

#[tokio::test]
async fn discarding_does_not_take_back_what_has_left() {
    let (mut instrument, _, mut host) = wire();
    for _ in 0..500 {
        write(&mut host, b"PARK\n").await;
        host.discard_output();
        assert_eq!(read_exactly(&mut instrument, 5).await, b"PARK\n");
    }
    write(&mut host, b"last words\n").await;
    host.discard_output();
    host.close();
    assert_eq!(read_exactly(&mut instrument, 11).await, b"last words\n");
}

#[tokio::test]
async fn discarded_input_is_gone() {
    let (mut instrument, _, mut host) = wire();
    // Until it stays full: the kernel moves what it took from one buffer to the next, which makes room.
    while fill(&mut instrument) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let waiting = tokio::spawn(async move {
        write(&mut instrument, b"new").await;
        instrument
    });
    tokio::task::yield_now().await;
    host.discard_input();
    let _instrument = soon(waiting).await.unwrap();
    assert_eq!(read_exactly(&mut host, 3).await, b"new");
    assert!(is_quiet(&mut host));
}

async fn a_writer_goes_on(mut writer: Pipe, mut reader: Pipe) {
    let all: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let expected = all.clone();
    fill(&mut writer);
    let writing = tokio::spawn(async move {
        write(&mut writer, &all).await;
        writer
    });
    let mut heard = Vec::new();
    while !heard.ends_with(&expected) {
        heard.extend(read(&mut reader).await.unwrap());
    }
    drop(soon(writing).await.unwrap());
}

#[tokio::test]
async fn a_writer_goes_on_when_the_other_side_reads() {
    let (instrument, _, host) = wire();
    a_writer_goes_on(host, instrument).await;
    let (instrument, _, host) = wire();
    a_writer_goes_on(instrument, host).await;
}

#[tokio::test]
async fn a_port_is_opened_once_unless_it_is_shared() {
    let (_instrument, path, host) = wire();
    let shared = SerialSettings { exclusive: false, ..SerialSettings::default() };
    for settings in [&SerialSettings::default(), &shared] {
        let error = failure(serial(&path, settings));
        assert_eq!(error.kind, OpenKind::InUse);
        // "this very process", unless the system's table of locks changed while it was read.
        assert!(error.why.ends_with(" has it open"), "{}", error.why);
        assert!(error.errno.is_some());
    }
    host.close();
    let (one, two) = (serial(&path, &shared).unwrap(), serial(&path, &shared).unwrap());
    assert_eq!(failure(serial(&path, &SerialSettings::default())).kind, OpenKind::InUse);
    drop((one, two));
    serial(&path, &SerialSettings::default()).unwrap().pipe.close();
}

/// The descriptors of this process that are open on `path`.
fn descriptors(path: &str) -> Vec<RawFd> {
    let all = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let on_path = all.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == *path));
    on_path.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_closed_port_is_free_though_a_copy_of_its_descriptor_is_open() {
    let (_instrument, path) = Pty::open().unwrap();
    let before = descriptors(&path);
    for exclusive in [true, false] {
        let settings = SerialSettings { exclusive, ..SerialSettings::default() };
        let host = serial(&path, &settings).unwrap().pipe;
        let number = descriptors(&path).into_iter().find(|number| !before.contains(number)).unwrap();
        // What a forked child has: another descriptor of the same open file.
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let copy: OwnedFd = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).unwrap();
        host.close();
        serial(&path, &SerialSettings::default()).unwrap().pipe.close();
        drop(copy);
    }
    assert_eq!(descriptors(&path), before);
}

#[tokio::test]
async fn what_is_not_there_is_missing_and_what_is_no_port_is_unsupported() {
    let error = failure(serial("/dev/no-such-port", &SerialSettings::default()));
    assert_eq!((error.kind, error.errno), (OpenKind::Missing, Some(2)));
    assert!(error.why.starts_with("there is no such port; "), "{}", error.why);
    for port in ports() {
        assert!(error.why.contains(&port.device), "{}", error.why);
    }
    assert_eq!(failure(serial("/dev/a\0b", &SerialSettings::default())).kind, OpenKind::Missing);
    for (path, what) in [("/etc/passwd", "an ordinary file"), ("/etc", "a folder"), ("/dev/null", "")] {
        let error = failure(serial(path, &SerialSettings::default()));
        assert_eq!(error.kind, OpenKind::Unsupported, "{path}");
        assert!(error.why.starts_with("it is not a serial port") && error.why.ends_with(what), "{}", error.why);
    }
}

#[tokio::test]
async fn a_pseudo_terminal_says_what_it_leaves_out() {
    let (_instrument, path) = Pty::open().unwrap();
    let before = descriptors(&path);
    let settings = SerialSettings {
        baudrate: 250_000,
        bytesize: 7,
        parity: Parity::Mark,
        stopbits: StopBits::OnePointFive,
        xonxoff: true,
        rtscts: true,
        dsrdtr: true,
        exclusive: true,
        dtr: Some(true),
        rts: Some(false),
        low_latency: true,
        rs485: None,
    };
    let notices = serial(&path, &settings).unwrap().notices;
    let left_out: Vec<&str> = notices.iter().map(|notice| notice.split(' ').next().unwrap()).collect();
    assert_eq!(
        left_out,
        ["bytesize=7", "parity='M'", "stopbits=1.5", "rtscts=True", "dsrdtr=True", "dtr", "rts", "low_latency=True"]
    );
    assert_eq!(notices[1], "parity='M' is left out: a pseudo-terminal has no parity");
    let error = failure(serial(&path, &SerialSettings { bytesize: 9, ..settings.clone() }));
    assert_eq!(error.kind, OpenKind::Unsupported);
    let shared = Rs485 { rts_on_send: true, rts_after_send: false, before_send: 0, after_send: 0, loopback: false };
    let error = failure(serial(&path, &SerialSettings { rs485: Some(shared), ..settings }));
    assert_eq!(error.kind, OpenKind::Unsupported);
    assert_eq!(error.why, "rs485: a pseudo-terminal has no wires to share");
    assert_eq!(descriptors(&path), before, "it was opened all the same");
}

#[tokio::test]
async fn programs_come_and_go_and_the_simulated_side_stays() {
    let (pty, path) = Pty::open().unwrap();
    let mut instrument: Pipe = Box::new(pty);
    assert!(is_quiet(&mut instrument));
    for _ in 0..3 {
        // Any program: it opens a file, and no more.
        let mut program = File::options().read(true).write(true).open(&path).unwrap();
        program.write_all(b"S\r\n").unwrap();
        assert_eq!(read_exactly(&mut instrument, 3).await, b"S\r\n");
        write(&mut instrument, b"S S 1 g\r\n").await;
        let mut heard = [0; 9];
        program.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"S S 1 g\r\n");
        drop(program);
        let nobody = tokio::time::timeout(Duration::from_millis(20), read(&mut instrument)).await;
        assert!(nobody.is_err(), "{nobody:?}");
        assert_eq!(instrument.read_now(&mut BytesMut::new()).unwrap(), 0);
    }
    assert!(!instrument.close_blocks());
    instrument.close();
    assert_eq!(descriptors(&path), Vec::<RawFd>::new());
}
