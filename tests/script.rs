//! Scripts, played without a wire: what is expected in order, what is known at any time, what is said and when. Pure, so each case is
//! told whole.

#![cfg(test)]

use std::time::Duration;

use bytes::Bytes;
use labtether::framing::Lines;
use labtether::simulate::{
    Accepts, Deed, Instrument, Part, Played, Say, Script, Step, StepId, Template, Verdict, Words,
};
use proptest::prelude::*;
use regex::bytes::Regex;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn played() -> Played {
    Played::new(Script::new(Lines::crlf().into()))
}

fn exactly(command: &str) -> Accepts {
    Accepts { exactly: Some(Bytes::copy_from_slice(command.as_bytes())), like: None }
}

fn like(pattern: &str) -> Accepts {
    Accepts { exactly: None, like: Regex::new(&format!(r"\A(?:{pattern})\z")).ok() }
}

fn step(accepts: Accepts, least: usize, most: Option<usize>, parts: Vec<Part>) -> Step {
    Step { accepts, written: (String::new(), String::new()), least, most, parts, sets: Vec::new(), count: 0 }
}

fn part(text: &str, after: u64) -> Part {
    let words = Words::Template(Template::new(text.to_owned()));
    Part { after: ms(after), words, asked: true, faults: None }
}

/// Expected once, in order.
fn expect(played: &Played, command: &str, reply: &str) -> StepId {
    played.script().expect(step(exactly(command), 1, Some(1), vec![part(reply, 1)]), None)
}

/// What it says to `command`: milliseconds, and text.
fn told(played: &mut Played, command: &str) -> Vec<(u64, String)> {
    said(played.hear(command.as_bytes()))
}

fn said(says: Vec<Say>) -> Vec<(u64, String)> {
    let line = |say: Say| {
        let text = match say.what {
            Deed::Bytes(bytes) => String::from_utf8_lossy(&bytes).trim_end_matches("\r\n").to_owned(),
            Deed::Unplug => "(unplugged)".to_owned(),
            Deed::Plug => "(plugged)".to_owned(),
        };
        (u64::try_from(say.after.as_millis()).unwrap_or(u64::MAX), text)
    };
    says.into_iter().map(line).collect()
}

fn texts(told: Vec<(u64, String)>) -> Vec<String> {
    told.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn what_is_expected_is_taken_in_its_order_and_nothing_else() {
    let mut psu = played();
    let (a, b) = (expect(&psu, "A", "1"), expect(&psu, "B", "2"));
    assert_eq!(told(&mut psu, "B"), []);
    assert_eq!(told(&mut psu, "A"), [(1, "1".to_owned())]);
    assert_eq!(told(&mut psu, "A"), []);
    assert_eq!(told(&mut psu, "B"), [(1, "2".to_owned())]);
    let verdicts: Vec<Verdict> = psu.script().report().heard.into_iter().map(|heard| heard.verdict).collect();
    let unexpected = |awaited: &[StepId]| Verdict::Unexpected { awaited: awaited.to_vec() };
    assert_eq!(verdicts, [unexpected(&[a]), Verdict::Step(a), unexpected(&[b]), Verdict::Step(b)]);
}

#[test]
fn what_may_be_left_out_is_and_what_may_repeat_does() {
    let mut psu = played();
    psu.script().expect(step(exactly("A"), 0, Some(1), vec![part("a", 0)]), None);
    psu.script().expect(step(exactly("B"), 2, None, vec![part("b", 0)]), None);
    psu.script().expect(step(exactly("C"), 1, Some(1), vec![part("c", 0)]), None);
    assert_eq!(told(&mut psu, "C"), []);
    assert_eq!(texts(told(&mut psu, "B")), ["b"]);
    // Once it has gone on, what was left out is over.
    assert_eq!(told(&mut psu, "A"), []);
    assert_eq!(told(&mut psu, "C"), []);
    assert_eq!(texts(told(&mut psu, "B")), ["b"]);
    assert_eq!(texts(told(&mut psu, "B")), ["b"]);
    assert_eq!(texts(told(&mut psu, "C")), ["c"]);
    assert!(psu.script().report().steps.iter().all(|step| step.count >= step.least));
}

#[test]
fn a_block_in_any_order_takes_each_of_its_steps_once() {
    let mut psu = played();
    let block = psu.script().any_order();
    for command in ["A", "B", "A"] {
        psu.script().expect(step(exactly(command), 1, Some(1), vec![part(command, 0)]), Some(block));
    }
    expect(&psu, "C", "c");
    for command in ["B", "A"] {
        assert_eq!(texts(told(&mut psu, command)), [command]);
    }
    assert_eq!(told(&mut psu, "B"), []);
    assert_eq!(told(&mut psu, "C"), []);
    assert_eq!(texts(told(&mut psu, "A")), ["A"]);
    assert_eq!(texts(told(&mut psu, "C")), ["c"]);
}

#[test]
fn pushes_come_after_the_step_before_them_and_only_once() {
    let mut psu = played();
    psu.script().push(vec![part("at once", 5)]);
    assert_eq!(psu.wakes_at(), Some(Duration::ZERO));
    assert_eq!(said(psu.wake(ms(10))), [(5, "at once".to_owned())]);
    assert_eq!(psu.wakes_at(), None);
    psu.script().expect(step(exactly("A"), 1, None, vec![part("a", 3)]), None);
    psu.script().push(vec![part("behind", 4)]);
    psu.script().push(vec![part("and more", 4)]);
    let all = [(3, "a".to_owned()), (7, "behind".to_owned()), (11, "and more".to_owned())];
    assert_eq!(told(&mut psu, "A"), all);
    assert_eq!(told(&mut psu, "A"), [(3, "a".to_owned())]);
}

#[test]
fn names_are_filled_in_from_groups_and_from_what_was_set() {
    let mut psu = played();
    let mut set = step(like(r"VOLT (?P<v>[\d.]+)"), 0, None, vec![part("{v} {unit} {nobody} {", 0)]);
    set.sets.push(("last".to_owned(), Template::new("<{v}>")));
    psu.script().when(set);
    psu.script().when(step(exactly("LAST?"), 0, None, vec![part("{last}{last}", 0)]));
    psu.script().state().insert("unit".to_owned(), Bytes::from_static(b"V"));
    assert_eq!(texts(told(&mut psu, "LAST?")), ["{last}{last}"]);
    assert_eq!(texts(told(&mut psu, "VOLT 1.5")), ["1.5 V {nobody} {"]);
    assert_eq!(texts(told(&mut psu, "LAST?")), ["<1.5><1.5>"]);
    assert_eq!(told(&mut psu, "VOLT 1.5V"), []);
}

#[test]
fn busy_for_a_while_it_takes_nothing() {
    let mut psu = played();
    expect(&psu, "A", "1");
    psu.script().be_busy(vec![part("BUSY", 0)], None, Some(ms(100)));
    psu.wake(ms(50));
    assert_eq!(texts(told(&mut psu, "A")), ["BUSY"]);
    psu.wake(ms(149));
    assert_eq!(texts(told(&mut psu, "A")), ["BUSY"]);
    psu.wake(ms(150));
    assert_eq!(texts(told(&mut psu, "A")), ["1"]);
    psu.script().be_busy(vec![part("BUSY", 0)], Some(1), None);
    expect(&psu, "B", "2");
    assert_eq!(texts(told(&mut psu, "B")), ["BUSY"]);
    assert_eq!(texts(told(&mut psu, "B")), ["2"]);
    assert!(psu.script().report().is_clean());
}

#[test]
fn switched_off_and_on_it_greets_and_has_forgotten_what_it_would_have_pushed() {
    let mut psu = played();
    psu.script().greeting(vec![part("READY", 2)]);
    psu.script().push_now(vec![part("lost", 0)]);
    assert_eq!(said(psu.power_on()), [(2, "READY".to_owned())]);
    assert_eq!(psu.wake(ms(1)), []);
    assert_eq!(said(psu.greet()), [(2, "READY".to_owned())]);
}

#[test]
fn what_cannot_be_said_in_the_framing_is_told_and_not_said() {
    let mut psu = played();
    psu.script().when(step(like(r"(?s)ECHO (?P<it>.*)"), 0, None, vec![part("{it}", 0)]));
    assert_eq!(texts(told(&mut psu, "ECHO fine")), ["fine"]);
    assert_eq!(told(&mut psu, "ECHO ended\r\n"), []);
    let report = psu.script().report();
    assert!(!report.is_clean());
    assert!(report.raised[0].why.raised.contains("cannot be said"), "{:?}", report.raised);
}

proptest! {
    /// Whatever is expected and whatever comes: each command has one verdict, no step is taken more often than it may be, and the report
    /// is clean exactly if all that had to come did, and nothing else.
    #[test]
    fn every_command_is_accounted_for(
        script in proptest::collection::vec((0..4_usize, 0..3_usize, 0..3_usize, any::<bool>()), 0..8),
        commands in proptest::collection::vec(0..4_usize, 0..16),
    ) {
        let names = ["A", "B", "C", "D"];
        let mut psu = played();
        for (command, least, more, ordered) in &script {
            let step = step(exactly(names[*command]), *least, Some(least + more), vec![part("ok", 0)]);
            if *ordered { psu.script().expect(step, None) } else { psu.script().when(step) };
        }
        let mut answered = 0;
        for command in &commands {
            answered += told(&mut psu, names[*command]).len();
        }
        let report = psu.script().report();
        prop_assert_eq!(report.heard.len(), commands.len());
        let mut counts = vec![0; report.steps.len()];
        let mut unexpected = 0;
        let mut last = 0;
        for heard in &report.heard {
            match &heard.verdict {
                Verdict::Step(step) => {
                    counts[*step] += 1;
                    if script[*step].3 {
                        // The order is kept.
                        prop_assert!(*step >= last);
                        last = *step;
                    }
                }
                Verdict::Unexpected { .. } => unexpected += 1,
                other => prop_assert!(false, "{:?}", other),
            }
        }
        for (step, count) in report.steps.iter().zip(&counts) {
            prop_assert_eq!(step.count, *count);
            prop_assert!(step.most.is_none_or(|most| *count <= most));
        }
        prop_assert_eq!(answered, commands.len() - unexpected);
        let met = report.steps.iter().all(|step| step.count >= step.least);
        prop_assert_eq!(report.is_clean(), met && unexpected == 0);
    }
}
