//! What a feed's reader is told when he is woken: whether that is for one of many readings, so that a loop may wait for more of them.

#![cfg(test)]

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use labtether::clock::Clock;
use labtether::error::{Evidence, LinkError};
use labtether::link::feed::{Feed, is_for_a_reading};
use labtether::link::ticket::{Answer, Heard, Pending};

/// Writes down, for each time it is woken, whether that was for a reading.
#[derive(Default)]
struct Woken(Mutex<Vec<bool>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().push(is_for_a_reading());
    }
}

fn heard(body: &'static str) -> Heard {
    Heard { body: Bytes::from_static(body.as_bytes()), at: Clock::real().stamp() }
}

fn lost() -> LinkError {
    LinkError::Closed { about: Box::<Evidence>::default(), why: "it was stopped".to_owned() }
}

type Happening = fn(&Arc<Feed>);

#[test]
fn a_reader_is_told_that_he_is_woken_for_a_reading_and_for_nothing_else() {
    let happenings: [(Happening, bool); 5] = [
        (|feed| feed.push_reading(heard("1")), true),
        (|feed| feed.push(heard("a message")), false),
        (|feed| feed.tell(lost()), false),
        (|feed| feed.end(None), false),
        (|feed| feed.next().cancel(), false),
    ];
    for (number, (happens, for_a_reading)) in happenings.into_iter().enumerate() {
        let (feed, woken) = (Feed::new(10), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        assert!(feed.next().poll_claim(&mut Context::from_waker(&waker)).is_pending());
        happens(&feed);
        assert_eq!(*woken.0.lock().unwrap(), [for_a_reading], "happening {number}");
        assert!(!is_for_a_reading());
    }
}

#[test]
fn readings_come_in_order_and_what_there_is_no_room_for_is_counted() {
    let feed = Feed::new(3);
    for body in ["1", "2", "3", "4", "5"] {
        feed.push_reading(heard(body));
    }
    let Poll::Ready(Ok(Answer::Batch(batch, dropped))) =
        feed.next().poll_claim(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("nothing was fetched");
    };
    assert_eq!(batch.iter().map(|one| &*one.body).collect::<Vec<_>>(), [b"3", b"4", b"5"]);
    assert_eq!(dropped, 2);
    assert!(batch.is_sorted_by_key(|one| one.at.moment));
}
