//! What tests of a link's conversation ask, and what they make of its answers.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use labtether::error::{Effect, LinkError};
use labtether::link::feed::Feed;
use labtether::link::job::{Asker, Ending, Poll, What};
use labtether::link::question::{Abort, Question};
use labtether::link::ticket::{Answer, Pending, Ticket, Verdict, next_id};
use labtether::transport::Transport;
use regex::bytes::Regex;

use super::{Bench, Rig, SOON, kind, lines, ms, text, wait};

pub(crate) fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// A plain question, to be changed.
pub(crate) fn question(command: &str) -> Question {
    let framing = lines();
    let frame = framing.encode(command.as_bytes()).unwrap();
    Question::new(Bytes::copy_from_slice(command.as_bytes()), frame, framing)
}

pub(crate) fn asks(question: Question) -> What {
    What::Query(Box::new(question))
}

/// HALT, answered by what matches `reply`, within two seconds.
pub(crate) fn halt(reply: Option<&str>) -> Abort {
    let frame = lines().encode(b"HALT").unwrap();
    Abort { command: Bytes::from_static(b"HALT"), frame, reply: reply.map(pattern), limit: ms(2000) }
}

/// A question that is stopped by HALT.
pub(crate) fn stoppable(command: &str, reply: Option<&str>) -> What {
    asks(Question { abort: Some(halt(reply)), ..question(command) })
}

/// The same where queries are told apart by what they begin with: "7 MOVE" is answered by "7 ...".
pub(crate) fn numbered(command: &str) -> Question {
    let id = command.split(' ').next().unwrap();
    Question { id: Some(Bytes::copy_from_slice(id.as_bytes())), ..question(command) }
}

/// SI, asked every 100 ms.
pub(crate) fn poll(feed: &Arc<Feed>) -> Poll {
    let (asker, feed) = (Asker::Anyone, feed.clone());
    let (id, every, question) = (next_id(), ms(100), question("SI"));
    Poll { id, question, every, count: None, limit: SOON, turn: SOON, skip_errors: false, asker, feed }
}

pub(crate) fn receive(wanted: Option<&str>) -> What {
    What::Receive { pattern: wanted.map(pattern), framing: None, accept: None }
}

/// What a cancelled or timed-out wait says was done.
pub(crate) fn effect(verdict: Verdict) -> Effect {
    match verdict {
        Err(LinkError::Cancelled { effect, .. } | LinkError::Timeout { effect, .. }) | Ok(Answer::Effect(effect)) => {
            effect
        }
        other => panic!("no effect in {other:?}"),
    }
}

pub(crate) async fn cancelled(ticket: &mut Ticket) -> Effect {
    ticket.cancel();
    let verdict = wait(ticket).await;
    assert_eq!(kind(&verdict), "cancelled", "{verdict:?}");
    effect(verdict)
}

/// Whether a ticket has its verdict, or would have to wait for it.
pub(crate) fn is_pending(ticket: &mut Ticket) -> bool {
    ticket.poll_claim(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}

impl Bench {
    /// Whether nothing is said to the instrument for `span`.
    pub(crate) async fn hears_nothing(&mut self, span: Duration) {
        let clock = self.clock.clone();
        let heard = clock.until(clock.now() + span, self.hear()).await;
        assert_eq!(heard, None, "{:?} was to be quiet", self.heard);
        assert!(self.heard.is_empty(), "{:?} was heard", self.heard);
    }

    /// Hears `command`, and answers it.
    pub(crate) async fn answers(&mut self, command: &str, reply: &str) {
        assert_eq!(self.hear().await, command);
        self.say(&format!("{reply}\n")).await;
    }
}

impl Rig {
    /// Opens an exchange.
    pub(crate) async fn talks(&self, what: What) -> u64 {
        let Ok(Answer::Number(id)) = wait(&mut self.ask(what, SOON)).await else { panic!("no exchange") };
        id
    }

    /// Asks something inside exchange `talk`.
    pub(crate) fn inside(&self, talk: u64, what: What) -> Ticket {
        self.link.ask(what, Some(talk), SOON, SOON, self.clock())
    }

    /// Leaves an exchange; the ticket is told the effect.
    pub(crate) fn leaves(&self, talk: u64, ending: Ending) -> Ticket {
        self.inside(talk, What::Leave(ending))
    }

    /// That the line is in step: a fresh question gets its own answer.
    pub(crate) async fn is_in_step(&mut self) {
        let mut ticket = self.query("FRESH", SOON);
        self.bench.answers("FRESH", "fresh").await;
        assert_eq!(text(wait(&mut ticket).await.unwrap()), "fresh");
        let mut stray = self.ask(receive(None), ms(50));
        let stray = wait(&mut stray).await;
        assert_eq!(kind(&stray), "timeout", "something was left over: {stray:?}");
    }

    /// Stops the link; nothing of it is left.
    pub(crate) async fn leaves_nothing(self) {
        wait(&mut self.link.stop(&self.place)).await.unwrap();
        assert_eq!(self.link.state(), "closed");
        self.place.nursery.close();
        self.place.nursery.ended().await;
        assert_eq!(self.place.nursery.census().tree(), "");
    }

    /// What the trace says besides traffic.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.link.trace.events().into_iter().map(|event| event.note).filter(|note| !note.is_empty()).collect()
    }
}

/// Leaves without waiting for a word about it.
pub(crate) fn cancels(ticket: &mut Ticket) {
    ticket.cancel();
}

impl Bench {
    /// Whether a part of a command has been heard.
    pub(crate) fn is_spoken_to(&self) -> bool {
        !self.heard.is_empty()
    }

    /// The next byte, where a line takes one at a time.
    pub(crate) async fn hears_a_byte(&mut self) -> u8 {
        let mut one = BytesMut::new();
        poll_fn(|cx| self.pipe.poll_read(cx, &mut one)).await.unwrap();
        assert_eq!(one.len(), 1);
        one[0]
    }
}
