//! Any conversation at all, in virtual time: queries, sends and exchanges that are answered, cancelled, dropped, timed out or aborted, with
//! echoes or without, with messages nobody asked for, and with the instrument's words in any pieces. No reply is ever misattributed, every
//! ticket ends, and after everything the link answers a fresh question (laws 2 to 4).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::asking::{asks, effect, pattern, question, receive};
use common::{Rig, SOON, kind, lines, ms, send, text, wait};
use labtether::clock::Moment;
use labtether::error::Effect;
use labtether::link::job::{Ending, What};
use labtether::link::question::{Abort, Question};
use labtether::link::rules::Echo;
use labtether::link::ticket::{Answer, Pending, Ticket, Verdict};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const DRAIN: u64 = 300;
const ABORTING: u64 = 150;
const TICK: u64 = 5;

/// What the instrument makes of a HALT.
#[derive(Clone, Copy, Debug)]
struct Halt {
    answers: bool,
    obeys: bool,
}

#[derive(Clone, Debug)]
enum Act {
    /// `delay`: until its reply, of which there may be none.
    Query {
        limit: u64,
        delay: Option<u64>,
        halt: Option<Halt>,
        finish: bool,
    },
    Send {
        urgent: bool,
    },
    /// An exchange that fetches `fetched` of so many parts.
    Talk {
        parts: usize,
        fetched: usize,
        halt: Option<Halt>,
    },
    Cancel(prop::sample::Index),
    Drop(prop::sample::Index),
    Alarm,
    Pause(u64),
}

fn halt() -> impl Strategy<Value = Option<Halt>> {
    prop::option::of((any::<bool>(), any::<bool>()).prop_map(|(answers, obeys)| Halt { answers, obeys }))
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..3_usize, prop::option::weighted(0.9, 0..500_u64), halt(), any::<bool>()).prop_map(
            |(limit, delay, halt, finish)| {
                let limit = [40, 120, 400][limit];
                // Later than that nobody could tell whose it is.
                let delay = delay.map(|delay| delay % (limit + DRAIN - 60));
                Act::Query { limit, delay, halt, finish }
            }
        ),
        1 => any::<bool>().prop_map(|urgent| Act::Send { urgent }),
        2 => (1..4_usize, 0..5_usize, halt())
            .prop_map(|(parts, fetched, halt)| Act::Talk { parts, fetched: fetched.min(parts), halt }),
        4 => index().prop_map(Act::Cancel),
        1 => index().prop_map(Act::Drop),
        2 => Just(Act::Alarm),
        6 => (0..300_u64).prop_map(Act::Pause),
    ]
}

/// The instrument: hears lines, and says what is due, in order and in pieces.
struct Instrument {
    echo: bool,
    pieces: usize,
    echoes: VecDeque<String>,
    says: VecDeque<(Moment, String)>,
    heard: Vec<String>,
}

impl Instrument {
    fn hears(&mut self, line: &str, now: Moment) {
        self.heard.push(line.to_owned());
        if self.echo {
            self.echoes.push_back(line.to_owned());
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["Q", serial, delay] => {
                if let Ok(delay) = delay.parse() {
                    self.says.push_back((now + ms(delay), format!("q {serial}")));
                }
            }
            ["T", serial, parts] => {
                for part in 1..=parts.parse().unwrap() {
                    self.says.push_back((now + ms(TICK * part), format!("t {serial} {part}")));
                }
            }
            ["HALT", answers, obeys] => {
                if obeys == "true" {
                    self.says.retain(|(_, said)| said.starts_with("ALARM"));
                }
                for (due, _) in &mut self.says {
                    *due = now;
                }
                if answers == "true" {
                    self.says.push_back((now, "HALTED".to_owned()));
                }
            }
            _ => {}
        }
    }

    /// What it has repeated goes before all else.
    fn next(&mut self, now: Moment) -> Option<String> {
        let is_due = self.says.front().is_some_and(|(due, _)| *due <= now);
        self.echoes.pop_front().or_else(|| if is_due { self.says.pop_front().map(|(_, said)| said) } else { None })
    }

    async fn tick(&mut self, rig: &mut Rig) {
        let clock = rig.clock().clone();
        rig.bench.pause(ms(1)).await;
        while let Some(line) = clock.until(clock.now(), rig.bench.hear()).await {
            self.hears(&line, clock.now());
        }
        // It does not speak while it is spoken to: what crosses an echo on the wire cannot be told from it.
        while !rig.bench.is_spoken_to()
            && let Some(said) = self.next(clock.now())
        {
            let said = said + "\n";
            for piece in said.as_bytes().chunks(self.pieces) {
                rig.bench.say(&String::from_utf8_lossy(piece)).await;
                rig.bench.pause(ms(1)).await;
            }
        }
        rig.bench.pause(ms(TICK - 1)).await;
    }
}

struct Talking {
    serial: usize,
    id: u64,
    waits: VecDeque<Ticket>,
    fetched: usize,
    wanted: usize,
    parts: usize,
}

enum Doing {
    Query { ticket: Ticket, serial: usize, left: bool },
    Send(Ticket),
    Opening { ticket: Ticket, serial: usize, parts: usize, wanted: usize },
    Talk(Talking),
    Leaving(Ticket),
}

struct Day {
    rig: Rig,
    instrument: Instrument,
    doing: Vec<Doing>,
    serial: usize,
    alarms: usize,
}

fn claim(ticket: &mut Ticket) -> Option<Verdict> {
    match ticket.poll_claim(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => Some(verdict),
        Poll::Pending => None,
    }
}

fn abort(halt: Halt) -> Abort {
    let command = format!("HALT {} {}", halt.answers, halt.obeys);
    let frame = lines().encode(command.as_bytes()).unwrap();
    Abort { command: Bytes::from(command), frame, reply: Some(pattern("^HALTED$")), limit: ms(ABORTING) }
}

impl Day {
    async fn begin(echo: Echo, pieces: usize, capacity: usize) -> Day {
        let rig = Rig::with(capacity, Some(lines()), |config| {
            config.rules.echo = echo;
            config.rules.unsolicited = Some(pattern("^ALARM"));
            config.rules.drain = ms(DRAIN);
        })
        .await;
        let instrument = Instrument {
            echo: echo != Echo::None,
            pieces,
            echoes: VecDeque::new(),
            says: VecDeque::new(),
            heard: Vec::new(),
        };
        Day { rig, instrument, doing: Vec::new(), serial: 0, alarms: 0 }
    }

    fn ask(&self, what: What, limit: Duration) -> Ticket {
        self.rig.link.ask(what, None, limit, Duration::from_secs(3600), self.rig.clock())
    }

    async fn does(&mut self, act: &Act) {
        self.serial += 1;
        let serial = self.serial;
        match act {
            Act::Query { limit, delay, halt, finish } => {
                let delay = delay.map_or("never".to_owned(), |delay| delay.to_string());
                let plain = question(&format!("Q {serial} {delay}"));
                let asked = Question { abort: halt.map(abort), finish: *finish, ..plain };
                let ticket = self.ask(asks(asked), ms(*limit));
                self.doing.push(Doing::Query { ticket, serial, left: false });
            }
            Act::Send { urgent } => {
                let ticket = self.ask(send(&format!("N {serial}"), *urgent), SOON);
                self.doing.push(Doing::Send(ticket));
            }
            Act::Talk { parts, fetched, halt } => {
                let abort = halt.map(|halt| Box::new(abort(halt)));
                let ticket = self.ask(What::Talk { place: "here".into(), abort }, SOON);
                self.doing.push(Doing::Opening { ticket, serial, parts: *parts, wanted: *fetched });
            }
            Act::Cancel(which) if !self.doing.is_empty() => {
                let index = which.index(self.doing.len());
                self.cancel(index);
            }
            Act::Drop(which) if !self.doing.is_empty() => {
                let index = which.index(self.doing.len());
                if matches!(&self.doing[index], Doing::Query { .. } | Doing::Send(_) | Doing::Opening { .. }) {
                    drop(self.doing.remove(index));
                }
            }
            Act::Alarm => {
                // Where the line says something else just now, it comes behind that.
                self.alarms += 1;
                self.instrument.says.push_front((self.rig.clock().now(), format!("ALARM {}", self.alarms)));
            }
            Act::Pause(span) => {
                for _ in 0..span / TICK {
                    self.tick().await;
                }
            }
            Act::Cancel(_) | Act::Drop(_) => {}
        }
        self.tick().await;
    }

    fn cancel(&mut self, index: usize) {
        match &mut self.doing[index] {
            Doing::Query { ticket, left, .. } => {
                *left = true;
                ticket.cancel();
            }
            Doing::Send(ticket) | Doing::Opening { ticket, .. } | Doing::Leaving(ticket) => ticket.cancel(),
            Doing::Talk(talking) => {
                let leaving = self.rig.leaves(talking.id, Ending::Cancelled);
                self.doing[index] = Doing::Leaving(leaving);
            }
        }
    }

    async fn tick(&mut self) {
        self.instrument.tick(&mut self.rig).await;
        let doing = std::mem::take(&mut self.doing);
        self.doing = doing.into_iter().filter_map(|doing| self.goes_on(doing)).collect();
    }

    /// One of the things that are being done; `None`: it is over.
    fn goes_on(&self, doing: Doing) -> Option<Doing> {
        match doing {
            Doing::Query { mut ticket, serial, left } => match claim(&mut ticket) {
                Some(verdict) => {
                    self.asked(serial, left, verdict);
                    None
                }
                None => Some(Doing::Query { ticket, serial, left }),
            },
            Doing::Send(mut ticket) => match claim(&mut ticket) {
                Some(verdict) => {
                    assert!(matches!(kind(&verdict), "ok" | "cancelled" | "busy"), "{verdict:?}");
                    None
                }
                None => Some(Doing::Send(ticket)),
            },
            Doing::Opening { mut ticket, serial, parts, wanted } => match claim(&mut ticket) {
                Some(Ok(Answer::Number(id))) => {
                    let mut waits = VecDeque::from([self.rig.inside(id, send(&format!("T {serial} {parts}"), false))]);
                    waits.extend((0..wanted).map(|_| self.rig.inside(id, receive(None))));
                    Some(Doing::Talk(Talking { serial, id, waits, fetched: 0, wanted, parts }))
                }
                Some(verdict) => {
                    assert_eq!(kind(&verdict), "cancelled");
                    None
                }
                None => Some(Doing::Opening { ticket, serial, parts, wanted }),
            },
            Doing::Talk(talking) => Some(self.talks(talking)),
            Doing::Leaving(mut ticket) => match claim(&mut ticket) {
                Some(verdict) => {
                    assert!(matches!(verdict, Ok(Answer::Effect(_))), "{verdict:?}");
                    None
                }
                None => Some(Doing::Leaving(ticket)),
            },
        }
    }

    fn asked(&self, serial: usize, left: bool, verdict: Verdict) {
        let was_heard = self.instrument.heard.iter().any(|line| line.starts_with(&format!("Q {serial} ")));
        match verdict {
            Ok(answer) => assert_eq!(text(answer), format!("q {serial}"), "another's reply"),
            verdict if kind(&verdict) == "busy" => {}
            verdict => {
                let name = kind(&verdict);
                assert!(name == "timeout" || left && name == "cancelled", "{verdict:?}");
                assert!(!was_heard || effect(verdict) != Effect::NeverStarted, "{serial} was heard");
            }
        }
    }

    fn talks(&self, mut talking: Talking) -> Doing {
        while let Some(verdict) = talking.waits.front_mut().and_then(claim) {
            talking.waits.pop_front();
            match verdict {
                Ok(Answer::Message(heard, _)) => {
                    talking.fetched += 1;
                    let expected = format!("t {} {}", talking.serial, talking.fetched);
                    assert_eq!(String::from_utf8_lossy(&heard.body), expected, "another's reply");
                }
                Ok(_) => {}
                // An urgent message may have cut it.
                other => assert!(matches!(kind(&other), "busy" | "timeout"), "{other:?}"),
            }
        }
        if !talking.waits.is_empty() {
            return Doing::Talk(talking);
        }
        let whole = talking.wanted == talking.parts && talking.fetched == talking.parts;
        Doing::Leaving(self.rig.leaves(talking.id, if whole { Ending::Clean } else { Ending::Cancelled }))
    }

    async fn ends(mut self) {
        let mut ticks = 0;
        while !self.doing.is_empty() {
            self.tick().await;
            ticks += 1;
            assert!(ticks < 10_000, "somebody was never told");
        }
        for _ in 0..200 {
            self.tick().await;
        }
        self.does(&Act::Query { limit: 400, delay: Some(50), halt: None, finish: false }).await;
        let Some(Doing::Query { mut ticket, serial, .. }) = self.doing.pop() else { panic!("over already") };
        for _ in 0..100 {
            self.tick().await;
        }
        let answer = claim(&mut ticket).expect("a fresh question is answered").unwrap();
        assert_eq!(text(answer), format!("q {serial}"));
        let mut alarms = Vec::new();
        while let Ok(answer) = wait(&mut self.ask(receive(None), ms(1))).await {
            alarms.push(text(answer));
        }
        let mut expected: Vec<String> = (1..=self.alarms).map(|number| format!("ALARM {number}")).collect();
        alarms.sort();
        expected.sort();
        assert_eq!(alarms, expected, "{:?}", self.rig.notes());
        self.rig.leaves_nothing().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_reply_is_misattributed_and_every_ticket_ends(
        acts in prop::collection::vec(act(), 1..40),
        echo in prop::sample::select(vec![Echo::None, Echo::Bytes, Echo::Line]),
        pieces in 1..20_usize,
        capacity in prop::sample::select(vec![4, 4096]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut day = Day::begin(echo, pieces, capacity).await;
            for act in &acts {
                day.does(act).await;
            }
            day.ends().await;
        });
    }
}
