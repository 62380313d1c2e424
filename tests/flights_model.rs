//! Any schedule of questions with ids, in virtual time: asked, cancelled, dropped, timed out, aborted, answered in any order and in any parts,
//! with garbage and unsolicited messages in between. Each reply that is delivered belongs to its question, and every ticket ends (law 3).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::asking::{asks, numbered, pattern};
use common::{Rig, kind, lines, ms, text, wait};
use labtether::clock::Moment;
use labtether::link::question::{Abort, Question};
use labtether::link::rules::IdOf;
use labtether::link::ticket::{Pending, Ticket, Verdict};
use proptest::prelude::*;
use std::task::{Context, Poll, Waker};

const DRAIN: u64 = 300;
const ABORTING: u64 = 150;

#[derive(Clone, Debug)]
enum Act {
    Ask {
        id: u32,
        limit: u64,
        abort: bool,
    },
    Cancel(prop::sample::Index),
    Drop(prop::sample::Index),
    /// To one of the commands that were heard.
    Reply(prop::sample::Index),
    /// The same, and half a second later the rest of it.
    HalfAReply(prop::sample::Index, prop::sample::Index),
    Halted(prop::sample::Index),
    Alarm,
    Garbage,
    Pause(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..4_u32, 0..3_usize, any::<bool>())
            .prop_map(|(id, limit, abort)| Act::Ask { id, limit: [40, 120, 400][limit], abort }),
        2 => index().prop_map(Act::Cancel),
        1 => index().prop_map(Act::Drop),
        5 => index().prop_map(Act::Reply),
        1 => (index(), index()).prop_map(|(which, cut)| Act::HalfAReply(which, cut)),
        2 => index().prop_map(Act::Halted),
        1 => Just(Act::Alarm),
        1 => Just(Act::Garbage),
        4 => (0..200_u64).prop_map(Act::Pause),
    ]
}

struct Asked {
    ticket: Ticket,
    id: u32,
    serial: usize,
}

/// A command that the instrument has heard, and when it is too late to answer it.
struct Heard {
    words: String,
    serial: usize,
    until: Moment,
}

struct Day {
    rig: Rig,
    asked: Vec<Asked>,
    heard: Vec<Heard>,
    halts: Vec<String>,
    asks: usize,
    alarms: usize,
}

impl Day {
    async fn begin() -> Day {
        let rig = Rig::with(4096, Some(lines()), |config| {
            config.rules.ids = Some(IdOf::Group(pattern("^([0-9]+) ")));
            config.rules.unsolicited = Some(pattern("^ALARM"));
            config.rules.drain = ms(DRAIN);
        })
        .await;
        Day { rig, asked: Vec::new(), heard: Vec::new(), halts: Vec::new(), asks: 0, alarms: 0 }
    }

    async fn does(&mut self, act: &Act) {
        match act {
            Act::Ask { id, limit, abort } => self.ask(*id, *limit, *abort),
            Act::Cancel(which) if !self.asked.is_empty() => {
                let index = which.index(self.asked.len());
                self.asked[index].ticket.cancel();
            }
            Act::Drop(which) if !self.asked.is_empty() => {
                let index = which.index(self.asked.len());
                drop(self.asked.remove(index));
            }
            Act::Reply(which) => {
                if let Some(reply) = self.reply(which) {
                    self.rig.bench.say(&reply).await;
                }
            }
            Act::HalfAReply(which, cut) => {
                if let Some(reply) = self.reply(which) {
                    let (begun, rest) = reply.split_at(cut.index(reply.len()));
                    self.rig.bench.say(begun).await;
                    self.rig.bench.pause(ms(5)).await;
                    self.rig.bench.say(rest).await;
                }
            }
            Act::Halted(which) if !self.halts.is_empty() => {
                let index = which.index(self.halts.len());
                let id = self.halts.remove(index);
                self.is_over_soon(&id, DRAIN);
                self.rig.bench.say(&format!("HALTED {id}\n")).await;
            }
            Act::Alarm => {
                self.alarms += 1;
                self.rig.bench.say("ALARM\n").await;
            }
            Act::Garbage => {
                self.rig.bench.say(&format!("{}\n", "x".repeat(1100))).await;
                // Whoever was alone in flight has failed by it; his reply may come for a drain.
                let until = self.rig.clock().now() + ms(DRAIN - 10);
                for heard in &mut self.heard {
                    heard.until = heard.until.min(until);
                }
            }
            Act::Pause(span) => self.rig.bench.pause(ms(*span)).await,
            Act::Cancel(_) | Act::Drop(_) | Act::Halted(_) => {}
        }
        self.looks_around().await;
    }

    fn ask(&mut self, id: u32, limit: u64, abort: bool) {
        self.asks += 1;
        let serial = self.asks;
        let frame = lines().encode(format!("HALT {id}").as_bytes()).unwrap();
        let command = Bytes::from(format!("HALT {id}"));
        let reply = Some(pattern(&format!("^HALTED {id}$")));
        let abort = abort.then(|| Abort { command, frame, reply, limit: ms(ABORTING) });
        let question = Question { abort, ..numbered(&format!("{id} {serial} {limit}")) };
        let ticket = self.rig.ask(asks(question), ms(limit));
        self.asked.push(Asked { ticket, id, serial });
    }

    /// Once it is aborted, what was asked as `id` is not waited for as long as it was to be.
    fn is_over_soon(&mut self, id: &str, span: u64) {
        let until = self.rig.clock().now() + ms(span - 10);
        for heard in self.heard.iter_mut().filter(|heard| heard.words == id) {
            heard.until = heard.until.min(until);
        }
    }

    fn reply(&mut self, which: &prop::sample::Index) -> Option<String> {
        let soon = self.rig.clock().now() + ms(6);
        self.heard.retain(|heard| heard.until > soon);
        if self.heard.is_empty() {
            return None;
        }
        let index = which.index(self.heard.len());
        let heard = self.heard.remove(index);
        Some(format!("{} {}\n", heard.words, heard.serial))
    }

    /// Takes in what was said to the instrument, and what the askers were told.
    async fn looks_around(&mut self) {
        self.rig.bench.pause(ms(1)).await;
        let clock = self.rig.clock().clone();
        while let Some(command) = clock.until(clock.now(), self.rig.bench.hear()).await {
            match command.strip_prefix("HALT ") {
                Some(id) => {
                    self.is_over_soon(id, ABORTING + DRAIN);
                    self.halts.push(id.to_owned());
                }
                None => {
                    let words: Vec<&str> = command.split(' ').collect();
                    let [id, serial, limit] = words[..] else { panic!("{command:?} was heard") };
                    let until = clock.now() + ms(limit.parse::<u64>().unwrap() + DRAIN - 10);
                    self.heard.push(Heard { words: id.to_owned(), serial: serial.parse().unwrap(), until });
                }
            }
        }
        let mut rest = Vec::new();
        for mut asked in std::mem::take(&mut self.asked) {
            match asked.ticket.poll_claim(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(verdict) => self.ended(&asked, verdict),
                Poll::Pending => rest.push(asked),
            }
        }
        self.asked = rest;
    }

    fn ended(&self, asked: &Asked, verdict: Verdict) {
        let name = kind(&verdict);
        match verdict {
            Ok(answer) => assert_eq!(text(answer), format!("{} {}", asked.id, asked.serial), "another's reply"),
            Err(error) => assert!(matches!(name, "timeout" | "cancelled" | "frame" | "other"), "{error}"),
        }
    }

    async fn ends(mut self) {
        // The longest limit twice (an id may have had to wait for its turn), an abort, and a drain after each.
        self.rig.bench.pause(ms(5_000)).await;
        for _ in 0..self.asked.len() {
            self.looks_around().await;
            self.rig.bench.pause(ms(2_000)).await;
        }
        self.looks_around().await;
        assert_eq!(self.asked.len(), 0, "somebody was never told");
        let mut fresh = self.rig.ask(asks(numbered("9 FRESH")), ms(500));
        self.looks_around_for("9 FRESH").await;
        self.rig.bench.say("9 fresh\n").await;
        assert_eq!(text(wait(&mut fresh).await.unwrap()), "9 fresh");
        let mut alarms = 0;
        loop {
            let verdict = wait(&mut self.rig.ask(common::asking::receive(None), ms(1))).await;
            match verdict {
                Ok(answer) => {
                    let unasked = text(answer);
                    // Of a garbage message the last part is one, too; and an abort may be answered when it is over.
                    let expected = unasked == "ALARM" || unasked.starts_with('x') || unasked.starts_with("HALTED ");
                    assert!(expected, "{unasked:?} is somebody's reply");
                    alarms += usize::from(unasked == "ALARM");
                }
                Err(_) => break,
            }
        }
        assert_eq!(alarms, self.alarms);
        self.rig.leaves_nothing().await;
    }

    async fn looks_around_for(&mut self, command: &str) {
        assert_eq!(self.rig.bench.hear().await, command);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reply_belongs_to_its_question_and_every_question_ends(acts in prop::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut day = Day::begin().await;
            for act in &acts {
                day.does(act).await;
            }
            day.ends().await;
        });
    }
}
