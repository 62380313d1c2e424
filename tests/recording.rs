//! Recordings of links: every byte and every event, in order, whatever the file does.

#![cfg(test)]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn, yield_now};

use bytes::Bytes;
use common::{Rig, SOON, lines, ms, place, wait};
use labtether::clock::{Moment, Stamp};
use labtether::link::Link;
use labtether::link::job::Closing;
use labtether::link::log::{Line, Log};
use labtether::link::opener::Place;
use labtether::link::recording::{Recording, Target};
use labtether::link::trace::{Direction, Trace};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A path of its own in the system's folder for such things; what is there goes with it.
struct TempFile(PathBuf);

impl TempFile {
    fn new() -> TempFile {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        TempFile(std::env::temp_dir().join(format!("labtether-recording-{}-{number}", std::process::id())))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn to(path: &Path) -> Target<'_> {
    Target { path, header: "{\"labtether\":1}", link: (Arc::from("scale"), Arc::from("memory")), log: Arc::new(|_| {}) }
}

fn record(link: &Link, place: &Place, path: &Path) -> Recording {
    link.trace.record(to(path), &place.nursery, place.clock().now()).unwrap()
}

fn at(place: &Place) -> Stamp {
    place.clock().stamp()
}

#[tokio::test]
async fn all_that_goes_over_the_link_is_in_the_file_with_its_time() {
    let file = TempFile::new();
    let mut rig = Rig::open().await;
    let recording = record(&rig.link, &rig.place, &file.0);
    let mut asked = rig.query("S", SOON);
    assert_eq!(rig.bench.hear().await, "S");
    rig.bench.pause(ms(250)).await;
    rig.bench.say("1.0").await;
    rig.bench.pause(ms(5)).await;
    rig.bench.say(" g\n").await;
    wait(&mut asked).await.unwrap();
    assert!(recording.stop(SOON));
    assert_eq!(
        file.text(),
        concat!(
            "{\"labtether\":1}\n",
            "{\"t\":0.000000,\"dir\":\">\",\"b64\":\"Uwo=\",\"txt\":\"S\\n\"}\n",
            "{\"t\":0.250000,\"dir\":\"<\",\"b64\":\"MS4w\",\"txt\":\"1.0\"}\n",
            "{\"t\":0.255000,\"dir\":\"<\",\"b64\":\"IGcK\",\"txt\":\" g\\n\"}\n",
        )
    );
    let tally = recording.tally();
    assert_eq!((tally.state, tally.events, tally.bytes, tally.dropped), ("stopped", 3, 8, 0));
}

#[tokio::test]
async fn the_last_words_are_recorded_too_and_the_link_takes_its_recording_with_it() {
    let file = TempFile::new();
    let rig = Rig::with(4096, Some(lines()), |config| config.park = Some(Bytes::from_static(b"PARK\n"))).await;
    let recording = record(&rig.link, &rig.place, &file.0);
    rig.link.end(Closing::Forgotten);
    rig.link.over().await;
    assert_eq!(recording.tally().state, "recording", "a link that is stopped may be set up again");
    drop(rig);
    assert!(recording.stop(SOON));
    let text = file.text();
    let told: Vec<&str> = text.lines().skip(1).map(|line| line.split("\"dir\":").nth(1).unwrap()).collect();
    assert_eq!(
        told,
        [
            "\"!\",\"txt\":\"closed: nothing referred to it any more\"}",
            "\">\",\"b64\":\"UEFSSwo=\",\"txt\":\"PARK\\n\"}",
            "\"!\",\"txt\":\"parked\"}",
        ]
    );
}

#[tokio::test]
async fn a_recording_without_its_link_is_over() {
    let (file, place) = (TempFile::new(), place());
    let trace = Trace::new(10, None);
    let recording = trace.record(to(&file.0), &place.nursery, place.clock().now()).unwrap();
    trace.note(at(&place), "the last");
    drop(trace);
    while !recording.is_over() {
        yield_now();
    }
    assert!(file.text().ends_with("\"txt\":\"the last\"}\n"));
    assert_eq!(place.nursery.census().alive().iter().filter(|entry| entry.name.contains("record")).count(), 0);
}

/// A pipe with a name, and the end of it that is read.
fn named_pipe(path: &Path) -> JoinHandle<File> {
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
    let path = path.to_owned();
    // Opening either end waits for the other.
    spawn(move || File::open(path).unwrap())
}

#[tokio::test]
async fn what_the_file_takes_too_slowly_is_missing_and_it_says_where() {
    let (file, place) = (TempFile::new(), place());
    let reader = named_pipe(&file.0);
    let trace = Trace::new(0, None);
    let recording = trace.record(to(&file.0), &place.nursery, place.clock().now()).unwrap();
    let mut reader = reader.join().unwrap();
    // Nobody reads yet: the writer stands still after 64 KiB.
    let block = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..12 {
        trace.wire(at(&place), Direction::In, block.clone());
    }
    let dropped = recording.tally().dropped;
    // It would fit by now, but a gap is in one place.
    trace.note(at(&place), "behind the gap");
    assert_eq!(recording.tally().dropped, dropped + 1);
    assert!((5..12).contains(&dropped), "{dropped} of 12 MiB, with room for less than 4 beside what is being written");
    assert!(!recording.stop(ms(1)), "nobody reads, and stopping does not wait for that");
    let reading = spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(recording.stop(SOON));
    let text = reading.join().unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains(&format!("\"dropped\":{},", dropped + 1)), "{last}");
    assert_eq!(text.lines().count() as u64, 1 + (12 - dropped) + 1, "the header, what was taken, and the gap");
    assert_eq!(recording.tally().events, 12 - dropped);
}

#[tokio::test]
async fn what_has_been_written_makes_room_for_more() {
    let (file, place) = (TempFile::new(), place());
    let trace = Trace::new(0, None);
    let recording = trace.record(to(&file.0), &place.nursery, place.clock().now()).unwrap();
    let block = Bytes::from(vec![0; 1 << 20]);
    for number in 1..=6 {
        trace.wire(at(&place), Direction::In, block.clone());
        while recording.tally().events < number {
            assert_eq!(recording.tally().dropped, 0);
            yield_now();
        }
    }
    assert_eq!(recording.tally().bytes, 6 << 20);
}

#[tokio::test]
async fn a_file_that_fails_ends_the_recording_and_not_the_link() {
    let told: Arc<Mutex<Vec<Line>>> = Arc::default();
    let (book, file) = (told.clone(), TempFile::new());
    let log: Log = Arc::new(move |line| book.lock().unwrap().push(line));
    let mut rig = Rig::open().await;
    let reader = named_pipe(&file.0);
    let target = Target { log, ..to(&file.0) };
    let recording = rig.link.trace.record(target, &rig.place.nursery, rig.place.clock().now()).unwrap();
    drop(reader.join().unwrap());
    for reply in ["1.0 g", "2.0 g"] {
        let mut asked = rig.query("S", SOON);
        assert_eq!(rig.bench.hear().await, "S");
        rig.bench.say(&format!("{reply}\n")).await;
        wait(&mut asked).await.unwrap();
        while !recording.is_over() {
            yield_now();
        }
    }
    assert_eq!(recording.tally().state, "failed");
    assert_eq!(recording.failed().unwrap().kind(), std::io::ErrorKind::BrokenPipe);
    assert!(recording.stop(SOON));
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].text.starts_with("scale: the recording to /"), "{}", told[0].text);
    assert!(told[0].text.contains("has ended: Broken pipe"), "{}", told[0].text);
}

#[tokio::test]
async fn what_a_crash_has_torn_is_not_glued_to_what_comes_next() {
    let (file, place) = (TempFile::new(), place());
    fs::write(&file.0, "{\"labtether\":1}\n{\"t\":0.1,\"di").unwrap();
    let trace = Trace::new(0, None);
    let recording = trace.record(to(&file.0), &place.nursery, place.clock().now()).unwrap();
    trace.note(at(&place), "open");
    assert!(recording.stop(SOON));
    trace.note(at(&place), "too late");
    assert_eq!(
        file.text(),
        "{\"labtether\":1}\n{\"t\":0.1,\"di\n{\"labtether\":1}\n{\"t\":0.000000,\"dir\":\"!\",\"txt\":\"open\"}\n"
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_at_once() {
    let (file, place) = (TempFile::new(), place());
    let trace = Trace::new(0, None);
    let refused = trace.record(to(&file.0.join("no").join("folder")), &place.nursery, Moment::NEVER).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::NotFound);
}
