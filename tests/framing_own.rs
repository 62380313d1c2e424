//! Framings and checksums that ask code of the user's own: what is asked, when, and what becomes of the answers.

#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use bytes::{Bytes, BytesMut};
use labtether::error::Cause;
use labtether::framing::checksum::{Checksum, Covers, Function, Order, Place, Style};
use labtether::framing::oracle::{Answer, Fault, Inquiry, Oracle, Verdict};
use labtether::framing::{BadMessage, FrameError, Framing, Lines, Own};
use proptest::prelude::*;

type Work = fn(&[u8]) -> Verdict;

/// Somebody else's code, on somebody else's thread: it answers when the test says so.
struct Elsewhere {
    work: Work,
    asked: Mutex<Vec<(Bytes, Answer)>>,
}

impl Elsewhere {
    fn new(work: Work) -> Arc<Elsewhere> {
        Arc::new(Elsewhere { work, asked: Mutex::default() })
    }

    /// Answers everything; how much that was.
    fn answer(&self) -> usize {
        let asked: Vec<_> = self.asked.lock().expect("is whole").drain(..).collect();
        let count = asked.len();
        for (question, answer) in asked {
            answer.give((self.work)(&question));
        }
        count
    }

    fn questions(&self) -> Vec<Bytes> {
        self.asked.lock().expect("is whole").iter().map(|(question, _)| question.clone()).collect()
    }
}

impl Oracle for Elsewhere {
    fn name(&self) -> &str {
        "the framing's take()"
    }

    fn ask(&self, question: Bytes, answer: Answer) {
        self.asked.lock().expect("is whole").push((question, answer));
    }

    fn at_once(&self, question: &[u8]) -> Verdict {
        (self.work)(question)
    }

    fn engaged(self: Arc<Elsewhere>) -> Arc<dyn Oracle> {
        self
    }
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn bell(framing: &Framing) -> Arc<Bell> {
    let bell = Arc::new(Bell::default());
    framing.attend(&Waker::from(bell.clone()));
    bell
}

fn fault(removed: usize) -> Fault {
    let raised = "ValueError: no".to_owned();
    Fault { what: "the framing's take()".to_owned(), raised, cause: Cause(Arc::new(())), removed }
}

/// Messages end at ">"; one that begins with "!" is bad, one that begins with "?" is dropped.
fn take(seen: &[u8]) -> Verdict {
    let Some(end) = seen.iter().position(|byte| *byte == b'>') else { return Ok(Own::said(0, None)) };
    match seen[0] {
        b'!' => Err(fault(end + 1)),
        b'?' => Ok(Own::said(end + 1, None)),
        _ => Ok(Own::said(end + 1, Some(&seen[..end]))),
    }
}

fn close(body: &[u8]) -> Verdict {
    if body.is_empty() { Err(fault(0)) } else { Ok([body, b">"].concat().into()) }
}

fn own(taking: Arc<Elsewhere>, max_length: usize) -> Framing {
    Own::new("mine".to_owned(), Elsewhere::new(close), taking, max_length).expect("fits").into()
}

#[test]
fn an_answer_is_awaited_and_then_found() {
    let elsewhere = Elsewhere::new(take);
    let framing = own(elsewhere.clone(), 99);
    let bell = bell(&framing);
    let mut received = BytesMut::from(b"one>two>".as_slice());
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(received, "one>two>", "nothing is removed before the answer");
    assert_eq!(elsewhere.questions(), ["one>two>"], "and nothing is asked twice");
    assert_eq!(framing.hint(&received).expect("came"), "8 bytes came, but the framing's take() has not returned");
    elsewhere.answer();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert_eq!(framing.take(&mut received), Ok(Some(Bytes::from("one"))));
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(elsewhere.questions(), ["two>"]);
}

#[test]
fn an_answer_holds_when_more_has_come_but_no_message_yet_does_not() {
    let elsewhere = Elsewhere::new(take);
    let framing = own(elsewhere.clone(), 99);
    let mut received = BytesMut::from(b"on".as_slice());
    assert_eq!(framing.take(&mut received), Ok(None));
    received.extend_from_slice(b"e>x");
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(elsewhere.questions(), ["on"], "the first answer is waited for");
    elsewhere.answer();
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(elsewhere.questions(), ["one>x"]);
    received.extend_from_slice(b"y");
    elsewhere.answer();
    assert_eq!(framing.take(&mut received), Ok(Some(Bytes::from("one"))));
    assert_eq!(framing.take(&mut received), Ok(None));
    elsewhere.answer();
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(elsewhere.answer(), 0, "nothing new has come, so nothing is asked");
}

#[test]
fn what_it_raises_removes_what_it_removed_and_at_least_one_byte() {
    let elsewhere = Elsewhere::new(take);
    let framing = own(elsewhere.clone(), 99).on_the_spot();
    let mut received = BytesMut::from(b"!bad>?dropped>good>".as_slice());
    let error = framing.take(&mut received).expect_err("is bad");
    assert_eq!(error.to_string(), "the framing's take() raised ValueError: no");
    assert!(error.cause().is_some());
    assert_eq!(framing.take(&mut received), Ok(Some(Bytes::from("good"))));
    let stubborn = own(Elsewhere::new(|_| Err(fault(0))), 99).on_the_spot();
    let mut received = BytesMut::from(b"abc".as_slice());
    let errors = std::iter::from_fn(|| stubborn.take(&mut received).err()).take(9).count();
    assert_eq!(errors, 3);
    let error = framing.encode(b"").expect_err("is refused");
    assert!(matches!(&error, BadMessage::Raised { .. }) && error.cause().is_some());
    assert_eq!(framing.encode(b"x"), Ok(Bytes::from("x>")));
}

#[test]
fn an_answer_that_fits_nothing_is_an_error() {
    for answer in
        [|_: &[u8]| Ok(Own::said(9, Some(b"x"))), |_: &[u8]| Ok(Own::said(0, Some(b"x"))), |_: &[u8]| Ok(Bytes::new())]
    {
        let framing = own(Elsewhere::new(answer), 99).on_the_spot();
        let mut received = BytesMut::from(b"abc".as_slice());
        assert!(matches!(framing.take(&mut received), Err(FrameError::Raised { .. })));
        assert!(received.len() < 3);
    }
}

#[test]
fn without_a_message_only_so_much_may_come() {
    let framing = own(Elsewhere::new(take), 4).on_the_spot();
    let mut received = BytesMut::from(b"abc".as_slice());
    assert_eq!(framing.take(&mut received), Ok(None));
    received.extend_from_slice(b"def>");
    assert!(matches!(framing.take(&mut received), Err(FrameError::TooLong { limit: 4, .. })));
    assert_eq!(framing.take(&mut received), Ok(Some(Bytes::from("ef"))));
}

#[test]
fn a_fresh_framing_knows_nothing_and_rings_nobody() {
    let elsewhere = Elsewhere::new(take);
    let first = own(elsewhere.clone(), 99);
    let bell = bell(&first);
    let second = first.fresh();
    let mut received = BytesMut::from(b"one>".as_slice());
    assert_eq!(second.take(&mut received), Ok(None));
    elsewhere.answer();
    assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    assert_eq!(first.take(&mut received), Ok(None), "it has not asked yet");
    assert_eq!(second.take(&mut received), Ok(Some(Bytes::from("one"))));
    assert!(first.asks() && !Framing::from(Lines::default()).asks());
}

#[test]
fn a_checksum_of_ones_own_is_asked_for_what_comes_and_worked_out_for_what_is_sent() {
    let elsewhere = Elsewhere::new(|covered| match covered {
        b"bug" => Err(fault(0)),
        _ => Ok(vec![covered.len() as u8; 2].into()),
    });
    let function = Function::Own { inquiry: Inquiry::of(elsewhere.clone()), size: 2 };
    let (order, style) = (Order::Big, Style::Hex { capital: true });
    let sum = Checksum { function, order, style, place: Place::BeforeEnd, covers: Covers::Body };
    let framing = Framing::from(Lines::default().with_checksum(sum).expect("keep nothing"));
    let bell = bell(&framing);
    assert_eq!(framing.encode(b"abc"), Ok(Bytes::from("abc0303\n")));
    let mut received = BytesMut::from(b"abc0303\nab0303\nbug0303\n".as_slice());
    assert_eq!(framing.take(&mut received), Ok(None));
    assert_eq!(elsewhere.questions(), ["abc"]);
    elsewhere.answer();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert_eq!(framing.take(&mut received), Ok(Some(Bytes::from("abc"))));
    let mut next = || {
        assert_eq!(framing.take(&mut received), Ok(None));
        elsewhere.answer();
        framing.take(&mut received).expect_err("is wrong").to_string()
    };
    assert_eq!(next(), "wrong checksum: 0x0303 came, but the checksum of 'ab' is 0x0202");
    assert_eq!(next(), "the framing's take() raised ValueError: no");
    assert!(matches!(framing.encode(b"bug"), Err(BadMessage::Raised { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn when_answers_come_does_not_matter(
        stream in prop::collection::vec(prop::sample::select(b"ab!?>".to_vec()), 0..40),
        steps in prop::collection::vec((0_usize..6, any::<bool>()), 0..30),
    ) {
        fn all(framing: &Framing, received: &mut BytesMut, into: &mut Vec<Result<Bytes, String>>) {
            while let Some(one) = framing.take(received).map_err(|error| error.to_string()).transpose() {
                into.push(one);
            }
        }
        let (mut whole, mut received) = (Vec::new(), BytesMut::from(stream.as_slice()));
        all(&own(Elsewhere::new(take), 99).on_the_spot(), &mut received, &mut whole);
        let elsewhere = Elsewhere::new(take);
        let framing = own(elsewhere.clone(), 99);
        let (mut taken, mut received, mut rest) = (Vec::new(), BytesMut::new(), stream.as_slice());
        for (count, answers) in steps.into_iter().chain([(40, true)]) {
            let (now, later) = rest.split_at(count.min(rest.len()));
            received.extend_from_slice(now);
            rest = later;
            all(&framing, &mut received, &mut taken);
            if answers {
                elsewhere.answer();
            }
            all(&framing, &mut received, &mut taken);
        }
        while elsewhere.answer() > 0 {
            all(&framing, &mut received, &mut taken);
        }
        prop_assert_eq!(taken, whole);
    }
}
