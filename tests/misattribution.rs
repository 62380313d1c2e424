//! A hundred thousand queries in virtual time, with random cancels, timeouts, and replies that come late, in parts or not at all: each
//! reply reaches its own question, and what a link says of a cut one (not sent, or sent) is what the instrument heard (law 3).

#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bench, Rig, lines, ms, query, send, text, wait};
use labtether::clock::Clock;
use labtether::error::{Effect, LinkError};
use labtether::link::Link;
use labtether::link::job::What;
use labtether::link::ticket::{Pending, Ticket};

/// All in milliseconds: how long past its deadline the link waits for a reply that it is owed;
const DRAIN: u64 = 1000;
/// how long the instrument may not listen;
const BUSY: u64 = 60;
/// and how far apart two parts of a reply may be.
const PARTS: u64 = 12;

/// An xorshift generator: the same seed, the same day at the bench.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What the instrument heard, in order; shared, because it is asked for after the instrument was switched off.
type HeardList = Arc<Mutex<Vec<u64>>>;

/// Answers "number limit" with the number: at once, in time, late, in parts, or never. Never so late that the link has ceased to wait:
/// on a line where replies come in order and carry no name, nobody could tell such a one apart.
async fn be_the_instrument(mut bench: Bench, mut dice: Dice, narrow: bool, heard: HeardList) {
    loop {
        // While it is busy a narrow line is full, with a part of a command in it: the link waits for as long as that takes.
        let stalled = narrow && dice.one_in(100);
        if stalled {
            bench.pause(ms(dice.below(5 * DRAIN))).await;
        } else if dice.one_in(4) {
            bench.pause(ms(dice.below(BUSY))).await;
        }
        let command = bench.hear().await;
        let mut words = command.split(' ').map(|word| word.parse::<u64>().unwrap());
        let number = words.next().unwrap();
        heard.lock().unwrap().push(number);
        let Some(limit) = words.next() else { continue };
        let delay = match dice.below(40) {
            0 => continue,
            1..20 => 0,
            20..30 => dice.below(limit),
            30 => limit,
            _ => limit + dice.below(DRAIN - BUSY - PARTS),
        };
        let delay = if stalled { delay.min(DRAIN - BUSY) } else { delay };
        bench.pause(ms(delay)).await;
        let reply = format!("{number}\n");
        if dice.one_in(4) {
            let (first, second) = reply.split_at(usize::try_from(dice.below(2)).unwrap());
            bench.say(first).await;
            bench.pause(ms(dice.below(PARTS))).await;
            bench.say(second).await;
        } else {
            bench.say(&reply).await;
        }
    }
}

/// How the questions of one asker ended.
#[derive(Default)]
struct Tally {
    replied: u64,
    timed_out: u64,
    cancelled: u64,
    sent: BTreeSet<u64>,
    /// Given up without waiting for a word about what became of them.
    dropped: BTreeSet<u64>,
}

struct Asker {
    link: Arc<Link>,
    clock: Clock,
    dice: Dice,
    narrow: bool,
    tally: Tally,
}

impl Asker {
    fn ask(&self, what: What, limit: u64) -> Ticket {
        self.link.ask(what, None, ms(limit), Duration::from_secs(3600), &self.clock)
    }

    async fn ask_many(mut self, numbers: impl Iterator<Item = u64>) -> Tally {
        for number in numbers {
            if self.dice.one_in(3) {
                self.clock.sleep(ms(self.dice.below(30))).await;
            }
            if !self.narrow && self.dice.one_in(20) {
                let ticket = self.ask(send(&number.to_string(), false), 100);
                self.see_through(ticket, number).await;
            } else {
                let limit = [20, 50, 200, 2000][usize::try_from(self.dice.below(4)).unwrap()];
                let ticket = self.ask(query(&format!("{number:05} {limit:04}")), limit);
                self.see_through(ticket, number).await;
            }
        }
        self.tally
    }

    async fn see_through(&mut self, mut ticket: Ticket, number: u64) {
        let mut verdict = None;
        if self.dice.one_in(4) {
            let patience = ms(if self.dice.one_in(3) { 0 } else { self.dice.below(120) });
            verdict = self.clock.until(self.clock.now() + patience, wait(&mut ticket)).await;
            if verdict.is_none() {
                if self.dice.one_in(10) {
                    self.tally.dropped.insert(number);
                    return;
                }
                ticket.cancel();
            }
        }
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => wait(&mut ticket).await,
        };
        let effect = match verdict {
            Ok(labtether::link::ticket::Answer::Nothing) => Effect::RanToCompletion,
            Ok(answer) => {
                assert_eq!(text(answer), number.to_string(), "a reply reached the wrong question");
                self.tally.replied += 1;
                Effect::RanToCompletion
            }
            Err(LinkError::Timeout { effect, .. }) => {
                self.tally.timed_out += 1;
                effect
            }
            Err(LinkError::Cancelled { effect, .. }) => {
                self.tally.cancelled += 1;
                effect
            }
            Err(error) => panic!("{number}: {error}"),
        };
        if effect != Effect::NeverStarted {
            self.tally.sent.insert(number);
        }
    }
}

const ASKERS: u64 = 3;

/// So many questions. A narrow pipe never holds the whole of a command, but takes the rest of one and the whole of the next as soon as the
/// instrument reads.
async fn a_day_at_the_bench(seed: u64, questions: u64, narrow: bool) {
    let capacity = if narrow { 8 } else { 4096 };
    let Rig { link, bench, place } = Rig::with(capacity, Some(lines()), |config| config.rules.drain = ms(DRAIN)).await;
    let clock = place.clock().clone();
    let heard = HeardList::default();
    let instrument = tokio::spawn(be_the_instrument(bench, Dice::new(seed), narrow, heard.clone()));
    let askers: Vec<_> = (0..ASKERS)
        .map(|place| {
            let dice = Dice::new(seed * 100 + place + 1);
            let tally = Tally::default();
            let asker = Asker { link: link.clone(), clock: clock.clone(), dice, narrow, tally };
            tokio::spawn(asker.ask_many((place..questions).step_by(usize::try_from(ASKERS).unwrap())))
        })
        .collect();
    let mut whole = Tally::default();
    for asker in askers {
        let mut tally = asker.await.unwrap();
        whole.replied += tally.replied;
        whole.timed_out += tally.timed_out;
        whole.cancelled += tally.cancelled;
        whole.sent.append(&mut tally.sent);
        whole.dropped.append(&mut tally.dropped);
    }
    // What was begun is sent to its end, and before this, which nobody leaves.
    let mut last = link.ask(query(&format!("{questions} 5000")), None, ms(5000), Duration::MAX, &clock);
    let verdict = wait(&mut last).await;
    if let Ok(answer) = verdict {
        assert_eq!(text(answer), questions.to_string());
    }
    instrument.abort();
    let mut heard = std::mem::take(&mut *heard.lock().unwrap());
    assert_eq!(heard.pop(), Some(questions));
    let heard_once: BTreeSet<u64> = heard.iter().copied().collect();
    assert_eq!(heard.len(), heard_once.len(), "something was asked twice");
    let unaccounted: Vec<_> = whole.sent.symmetric_difference(&heard_once).collect();
    assert!(
        unaccounted.iter().all(|number| whole.dropped.contains(number)),
        "sent but not heard, or the reverse: {unaccounted:?}"
    );
    assert!(whole.replied > questions / 3 && whole.timed_out > questions / 20 && whole.cancelled > questions / 20);
}

#[tokio::test]
async fn of_a_hundred_thousand_queries_none_gets_anothers_reply_and_none_is_lost() {
    for seed in 1..=3 {
        a_day_at_the_bench(seed, 25_000, false).await;
    }
    a_day_at_the_bench(4, 25_000, true).await;
}
