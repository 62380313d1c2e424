//! A dialogue that is cut at every byte of it, in virtual time: whoever leaves is told in time what was done, and the next gets his own
//! answer (laws 2 and 3).

#![cfg(test)]

mod common;

use bytes::BytesMut;
use common::asking::{cancelled, cancels, effect, receive, stoppable};
use common::{Bench, Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::error::Effect;
use labtether::link::job::{Ending, What};
use labtether::link::rules::Echo;
use labtether::link::ticket::{Answer, Ticket};
use labtether::transport::Transport;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Hears and says one byte at a time. Answers MOVE with "moved", HALT with "HALTED", others with themselves in small letters.
struct Instrument {
    line: String,
    says: VecDeque<u8>,
    echo: bool,
    /// HALT takes back what it has not begun to say.
    obeys: bool,
    has_moved: bool,
}

impl Instrument {
    fn new(echo: bool, obeys: bool) -> Instrument {
        Instrument { line: String::new(), says: VecDeque::new(), echo, obeys, has_moved: false }
    }

    /// Whether there was anything to do.
    async fn step(&mut self, bench: &mut Bench) -> bool {
        let mut one = BytesMut::new();
        let did = match bench.pipe.poll_read(&mut Context::from_waker(Waker::noop()), &mut one) {
            Poll::Ready(read) => {
                read.unwrap();
                self.hears(char::from(one[0]));
                true
            }
            Poll::Pending => match self.says.pop_front() {
                Some(byte) => {
                    bench.say(&char::from(byte).to_string()).await;
                    true
                }
                None => false,
            },
        };
        bench.pause(ms(1)).await;
        did
    }

    fn hears(&mut self, byte: char) {
        if self.echo {
            self.says.push_back(u8::try_from(byte).unwrap());
        }
        if byte != '\n' {
            self.line.push(byte);
            return;
        }
        let answer = match std::mem::take(&mut self.line).as_str() {
            "MOVE" => "moved\n".to_owned(),
            "HALT" => {
                if self.obeys && self.says.len() >= "moved\n".len() && !self.echo {
                    self.says.clear();
                }
                "HALTED\n".to_owned()
            }
            other => other.to_lowercase() + "\n",
        };
        self.has_moved |= answer == "moved\n";
        self.says.extend(answer.bytes());
    }

    /// Goes on until there is nothing to do for `span`.
    async fn goes_on(&mut self, bench: &mut Bench, span: u64) {
        let mut quiet = 0;
        while quiet < span {
            quiet = if self.step(bench).await { 0 } else { quiet + 20 };
            bench.pause(ms(if quiet == 0 { 0 } else { 19 })).await;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Abort,
    Exchange,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    echo: bool,
    obeys: bool,
    step: usize,
}

async fn open(echo: bool) -> Rig {
    Rig::with(1, Some(lines()), |config| config.rules.echo = if echo { Echo::Bytes } else { Echo::None }).await
}

/// Cuts it before the given step. Returns whether the dialogue was over by then.
async fn cut(case: Case) -> bool {
    let Case { kind: of, echo, obeys, step } = case;
    let mut rig = open(echo).await;
    let mut instrument = Instrument::new(echo, obeys);
    let (mut asked, talk): (Vec<Ticket>, _) = match of {
        Kind::Plain => (vec![rig.ask(query("MOVE"), SOON)], None),
        Kind::Abort => (vec![rig.ask(stoppable("MOVE", Some("^HALTED$")), SOON)], None),
        Kind::Exchange => {
            let abort = Some(Box::new(common::asking::halt(Some("^HALTED$"))));
            let talk = rig.talks(What::Talk { place: "here".into(), abort }).await;
            (vec![rig.inside(talk, send("MOVE", false)), rig.inside(talk, receive(None))], Some(talk))
        }
    };
    for _ in 0..step {
        instrument.step(&mut rig.bench).await;
    }
    let left = rig.clock().now();
    let mut next = rig.ask(query("NEXT"), SOON);
    let mut leaving = match talk {
        Some(talk) => rig.leaves(talk, Ending::Cancelled),
        None => {
            let mut ticket = asked.remove(0);
            cancels(&mut ticket);
            ticket
        }
    };
    let (clock, watch) = (rig.clock().clone(), rig.clock().clone());
    let told = async {
        let verdict = wait(&mut leaving).await;
        (verdict, watch.now())
    };
    let (verdict, told) = {
        let mut told = std::pin::pin!(told);
        loop {
            if let Some(told) = clock.until(clock.now(), &mut told).await {
                break told;
            }
            instrument.step(&mut rig.bench).await;
        }
    };
    assert!(told.since(left) <= ms(60), "{case:?}: told after {:?}", told.since(left));
    let over = match (of, verdict) {
        (Kind::Plain | Kind::Abort, Ok(Answer::Message(heard, _))) => {
            assert_eq!(&heard.body[..], b"moved");
            true
        }
        (Kind::Plain, verdict) => {
            assert_eq!(effect(verdict), Effect::Unconfirmed, "{case:?}");
            false
        }
        (Kind::Abort, verdict) => {
            let expected = if obeys { [Effect::Halted, Effect::RanToCompletion] } else { [Effect::RanToCompletion; 2] };
            let found = effect(verdict);
            assert!(expected.contains(&found), "{case:?}: {found:?}");
            assert!(instrument.has_moved, "it was begun, and so it was written whole");
            false
        }
        (Kind::Exchange, verdict) => {
            let found = effect(verdict);
            let fetched = kind(&wait(&mut asked[1]).await);
            // Its abort was confirmed, whatever had come before.
            assert_eq!(found, Effect::Halted, "{case:?}: {fetched}");
            fetched == "ok"
        }
    };
    instrument.goes_on(&mut rig.bench, 1200).await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next", "{case:?}");
    let mut stray = rig.ask(receive(None), ms(50));
    let stray = wait(&mut stray).await;
    assert_eq!(kind(&stray), "timeout", "{case:?}: left over is {stray:?}");
    over
}

#[tokio::test]
async fn a_dialogue_may_be_cut_at_every_byte() {
    for of in [Kind::Plain, Kind::Abort, Kind::Exchange] {
        for echo in [false, true] {
            for obeys in [false, true] {
                let mut step = 0;
                while !cut(Case { kind: of, echo, obeys, step }).await {
                    step += 1;
                    assert!(step < 100, "the dialogue never ends");
                }
                assert!(step >= "MOVE\nmoved\n".len() - 1, "{of:?}: {step} steps");
            }
        }
    }
}

#[tokio::test]
async fn a_dialogue_whose_instrument_falls_silent_at_any_byte_ends_in_its_time() {
    for of in [Kind::Plain, Kind::Abort] {
        for steps in 0.."MOVE\nmoved\n".len() {
            let mut rig = open(false).await;
            let mut instrument = Instrument::new(false, false);
            let what = if matches!(of, Kind::Abort) { stoppable("MOVE", Some("^HALTED$")) } else { query("MOVE") };
            let mut asked = rig.ask(what, ms(500));
            for _ in 0..steps {
                instrument.step(&mut rig.bench).await;
            }
            // Cut or silent: it ends, in a bounded time, and the line is usable when the instrument wakes up.
            rig.bench.pause(ms(100)).await;
            let left = rig.clock().now();
            let found = cancelled(&mut asked).await;
            assert_eq!(found, Effect::Unconfirmed, "after {steps} steps");
            assert!(rig.clock().now().since(left) <= ms(2000));
            let mut next = rig.ask(query("NEXT"), SOON);
            instrument.goes_on(&mut rig.bench, 1500).await;
            assert_eq!(text(wait(&mut next).await.unwrap()), "next", "after {steps} steps");
        }
    }
}
