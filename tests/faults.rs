//! What each fault does, exactly.

#![cfg(test)]

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use labtether::simulate::faults::{Fault, Faults, Happening, Sizes, Which};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn happened(happening: &Happening) -> String {
    let at = happening.at().as_micros() as f64 / 1_000.0;
    match happening {
        Happening::Bytes { bytes, .. } => format!("{at} {}", bytes.escape_ascii()),
        Happening::Disconnect { .. } => format!("{at} gone"),
        Happening::Reconnect { .. } => format!("{at} back"),
    }
}

/// What comes of a conversation: each part between bars has the time in milliseconds, `<` for what the instrument says
/// or `>` for what the host sends, and the text.
fn on_the_wire(faults: &[Fault], conversation: &str) -> Vec<Happening> {
    let mut faults = Faults::new(faults.to_vec());
    let mut wire = Vec::new();
    for part in conversation.split('|').map(|part| part.trim_matches(' ')) {
        let (time, rest) = part.split_once(' ').unwrap_or_default();
        let at = ms(time.parse().unwrap_or_else(|_| panic!("no time in {part:?}")));
        match rest.split_at(2) {
            ("< ", said) => wire.extend(faults.say(at, &Bytes::from(said.to_owned()))),
            ("> ", sent) => wire.extend(faults.hear(at, sent.as_bytes())),
            _ => panic!("no direction in {part:?}"),
        }
    }
    wire
}

/// What comes of it is `expected`: the times in milliseconds, and the text.
fn check(faults: &[Fault], conversation: &str, expected: &str) {
    let wire: Vec<String> = on_the_wire(faults, conversation).iter().map(happened).collect();
    let expected: Vec<&str> = expected.split('|').map(str::trim).filter(|part| !part.is_empty()).collect();
    assert_eq!(wire, expected, "{faults:?} on {conversation}");
}

fn rate(baudrate: u32, bits: u32) -> Fault {
    let nonzero = |number| NonZeroU32::new(number).expect("is not 0");
    Fault::Rate { baudrate: nonzero(baudrate), bits: nonzero(bits) }
}

fn every(size: usize) -> Sizes {
    Sizes::Every(NonZeroUsize::new(size).expect("is not 0"))
}

fn given(sizes: &[usize]) -> Sizes {
    Sizes::Given(sizes.iter().filter_map(|&size| NonZeroUsize::new(size)).collect())
}

fn fragment(sizes: Sizes, gap: u64) -> Fault {
    Fault::Fragment { sizes, gap: ms(gap) }
}

fn delay(by: u64) -> Fault {
    Fault::Delay { by: ms(by), which: Which::all() }
}

fn disconnect(after: u64, in_message: Option<usize>, back: Option<u64>) -> Fault {
    Fault::Disconnect { after, in_message, back: back.map(ms) }
}

#[test]
fn without_faults_all_comes_as_it_is_said() {
    check(&[], "0 < one | 0 < two | 1 > a question | 7 < three", "0 one | 0 two | 7 three");
    assert!(!Faults::new(Vec::new()).refuses());
}

#[test]
fn a_delay_makes_what_it_strikes_late_and_the_rest_waits_behind_it() {
    check(&[delay(20)], "0 < one | 5 < two", "20 one | 25 two");
    let once = Fault::Delay { by: ms(20), which: Which::only([2]) };
    check(&[once], "0 < one | 5 < two | 6 < three | 90 < four", "0 one | 25 two | 25 three | 90 four");
    // One that waits is not squeezed.
    let once = Fault::Delay { by: ms(20), which: Which::only([1]) };
    check(&[fragment(every(2), 3), once], "0 < abcd | 1 < efgh", "20 ab | 23 cd | 23 ef | 26 gh");
}

#[test]
fn jitter_is_never_more_than_it_says_and_keeps_the_order() {
    let jitter = |seed| [Fault::Jitter { most: ms(10), seed }];
    let said: String = (0..100).map(|number| format!("{} < {number} |", 2 * number)).collect();
    let said = said.trim_end_matches('|');
    let wire = on_the_wire(&jitter(1), said);
    let late: Vec<Duration> = wire.iter().zip(0..).map(|(came, number)| came.at() - ms(2 * number)).collect();
    assert!(late.iter().all(|late| *late <= ms(10)), "{late:?}");
    assert!(late.iter().max() > Some(&ms(8)) && late.iter().min() < Some(&ms(4)), "{late:?}");
    assert!(wire.iter().map(Happening::at).is_sorted());
    assert_ne!(wire, on_the_wire(&jitter(2), said));
    let wire = on_the_wire(&[Fault::Echo, Fault::Jitter { most: ms(10), seed: 1 }], "0 > one | 100 < one");
    assert_ne!(wire.iter().map(Happening::at).max(), wire.iter().map(|came| came.at() + ms(100)).min(), "{wire:?}");
    check(&[Fault::Jitter { most: ms(0), seed: 1 }], "0 < one | 5 < two", "0 one | 5 two");
}

#[test]
fn a_rate_gives_each_byte_its_time_and_makes_messages_queue() {
    // 1000 baud: 10 ms for a byte of 10 bits.
    check(&[rate(1_000, 10)], "0 < abc | 5 < de | 100 < f", "10 a | 20 b | 30 c | 40 d | 50 e | 110 f");
    check(&[rate(1_000, 11)], "0 < ab", "11 a | 22 b");
    // 40 bytes in a millisecond.
    let long = "x".repeat(100);
    let x = |count| "x".repeat(count);
    check(
        &[rate(400_000, 10)],
        &format!("1 < {long} | 2 < yy"),
        &format!("2 {} | 3 {} | 3.5 {} | 3.55 yy", x(40), x(40), x(20)),
    );
}

#[test]
fn a_rate_does_not_drift() {
    let wire = on_the_wire(&[rate(9_600, 10)], &format!("0 < {}", "x".repeat(9_600)));
    assert_eq!(wire.len(), 9_600);
    assert_eq!(wire.last().map(Happening::at), Some(Duration::from_secs(10)));
}

#[test]
fn fragments_have_the_sizes_that_are_given() {
    check(&[fragment(every(2), 5)], "0 < abcde | 1 < f", "0 ab | 5 cd | 10 e | 10 f");
    check(&[fragment(given(&[1, 2]), 5)], "0 < abcdef", "0 a | 5 bc | 10 def");
    check(&[fragment(given(&[1, 2]), 5)], "0 < ab", "0 a | 5 b");
    check(&[fragment(given(&[]), 5)], "0 < ab", "0 ab");
}

#[test]
fn fragments_are_cut_at_random_and_further() {
    let message = "abcdefghijklmnopqrstuvwxyz".repeat(4);
    let cuts = |seed| -> Vec<usize> {
        let wire = on_the_wire(&[fragment(Sizes::Random { seed }, 1)], &format!("0 < {message}"));
        assert!(wire.iter().zip(0..).all(|(piece, number)| piece.at() == ms(number)));
        wire.iter().map(|piece| bytes_of(std::slice::from_ref(piece)).len()).collect()
    };
    assert_eq!(cuts(1), cuts(1));
    assert_ne!(cuts(1), cuts(2));
    assert!((0..100).flat_map(cuts).all(|size| (1..=26).contains(&size)));
    // What has been cut stays cut, and the gaps are at least as wide as either wants.
    check(&[fragment(every(3), 5), fragment(every(2), 1)], "0 < abcdef", "0 ab | 1 c | 5 d | 6 ef");
}

#[test]
fn what_is_coalesced_comes_together_at_the_end_of_its_time() {
    let coalesce = Fault::Coalesce { within: ms(10) };
    check(
        std::slice::from_ref(&coalesce),
        "0 < one | 4 < two | 9 < three | 10 < four | 50 < five",
        "10 one | 10 two | 10 three | 20 four | 60 five",
    );
    check(&[fragment(every(1), 6), coalesce], "0 < abcd", "10 a | 10 b | 22 c | 22 d");
}

#[test]
fn a_dropped_message_never_comes() {
    check(&[Fault::Drop { which: Which::only([1, 3]) }], "0 < one | 1 < two | 2 < three | 3 < four", "1 two | 3 four");
    check(&[Fault::Drop { which: Which::all() }], "0 < one | 1 < two", "");
}

#[test]
fn a_garbled_message_differs_in_exactly_so_many_bytes() {
    let message = "abcdefghijklmnopqrstuvwxyz";
    for flips in [1, 2, 5, 26, 100] {
        let garble = |seed| [Fault::Garble { flips, which: Which::all().with_seed(seed) }];
        for seed in 0..200 {
            let wire = on_the_wire(&garble(seed), &format!("0 < {message} | 1 < {message}"));
            let [first, second] = wire.as_slice() else { panic!("two come, not {wire:?}") };
            for came in [first, second] {
                let came = bytes_of(std::slice::from_ref(came));
                assert_eq!(came.len(), 26);
                let differ = came.iter().zip(message.bytes()).filter(|(came, said)| **came != *said).count();
                assert_eq!(differ, flips.min(26));
            }
            assert_ne!(bytes_of(std::slice::from_ref(first)), bytes_of(std::slice::from_ref(second)));
        }
    }
}

#[test]
fn a_duplicate_comes_again_after_its_gap_and_what_follows_waits() {
    let duplicate = |times, gap| Fault::Duplicate { times, gap: ms(gap), which: Which::only([1]) };
    check(&[duplicate(1, 0)], "0 < one | 0 < two", "0 one | 0 one | 0 two");
    check(&[duplicate(2, 10)], "0 < one | 5 < two", "0 one | 10 one | 20 one | 20 two");
    check(&[fragment(every(2), 3), duplicate(1, 10)], "0 < one", "0 on | 3 e | 13 on | 16 e");
}

#[test]
fn an_echo_comes_first_and_as_it_was_sent() {
    check(&[Fault::Echo], "0 > VO | 1 > LT?\r | 2 > \n | 2 < 5", "0 VO | 1 LT?\\r | 2 \\n | 2 5");
    check(&[delay(20), Fault::Echo], "0 > a | 0 < 1 | 5 > b | 5 < 2 | 90 > c", "0 a | 20 1 | 20 b | 25 2 | 90 c");
    check(&[Fault::Echo, delay(20)], "0 > a | 0 < 1", "20 a | 20 1");
    // Damage is done to messages, and an echo is none.
    let damage = [
        Fault::Drop { which: Which::all() },
        Fault::Garble { flips: 3, which: Which::all() },
        Fault::Duplicate { times: 1, gap: ms(1), which: Which::all() },
        Fault::Truncate { keep: 0, which: Which::all() },
        disconnect(0, Some(0), None),
        Fault::Silence { after: 0, messages: None },
    ];
    for fault in damage {
        check(&[Fault::Echo, fault.clone()], "0 > abc | 1 > def", "0 abc | 1 def");
    }
    let some = Fault::Delay { by: ms(20), which: Which::only([1]) };
    check(&[Fault::Echo, some], "0 > abc | 1 < def", "0 abc | 21 def");
}

#[test]
fn of_a_truncated_message_only_the_beginning_comes() {
    let truncate = |keep| Fault::Truncate { keep, which: Which::only([1]) };
    check(&[truncate(2)], "0 < abc | 1 < def", "0 ab | 1 def");
    check(&[truncate(0)], "0 < abc | 1 < def", "1 def");
    check(&[truncate(7)], "0 < abc", "0 abc");
    check(&[fragment(every(2), 5), truncate(3)], "0 < abcde", "0 ab | 5 c");
}

#[test]
fn it_is_silent_after_so_many_messages_for_so_many() {
    let said = "0 < one | 1 < two | 2 < three | 3 < four";
    check(&[Fault::Silence { after: 1, messages: Some(2) }], said, "0 one | 3 four");
    check(&[Fault::Silence { after: 2, messages: None }], said, "0 one | 1 two");
    check(&[Fault::Silence { after: 0, messages: Some(1) }], said, "1 two | 2 three | 3 four");
}

#[test]
fn the_cable_is_pulled_after_a_message_within_one_or_at_the_first_word_of_the_host() {
    let said = "0 < one | 5 < two | 20 < three";
    check(&[disconnect(1, None, None)], said, "0 one | 0 gone | 5 two | 20 three");
    check(&[disconnect(1, Some(2), Some(10))], said, "0 one | 5 tw | 5 gone | 15 back | 20 three");
    check(&[disconnect(0, Some(0), None)], said, "0 gone | 5 two | 20 three");
    check(&[disconnect(1, Some(9), None)], said, "0 one | 5 two | 5 gone | 20 three");
    check(&[disconnect(0, None, Some(3))], "0 > a | 1 < one | 2 > b", "0 gone | 3 back | 1 one");
    // It happens where the message comes, not where it was said; and once.
    check(&[disconnect(1, None, Some(3)), delay(10)], "0 < one | 1 < two", "10 one | 10 gone | 13 back | 11 two");
    check(&[fragment(every(1), 5), disconnect(0, Some(2), None)], "0 < abcd", "0 a | 5 b | 5 gone");
    // The message that should have been the last was dropped.
    let dropped = Fault::Drop { which: Which::only([1]) };
    check(&[dropped, disconnect(1, None, None)], "0 < one | 1 < two", "1 two | 1 gone");
}

#[test]
fn the_first_attempts_to_open_are_refused() {
    let refused = |faults: &[Fault]| -> Vec<bool> {
        let mut faults = Faults::new(faults.to_vec());
        (0..4).map(|_| faults.refuses()).collect()
    };
    assert_eq!(refused(&[Fault::Refuse { times: 2 }]), [true, true, false, false]);
    assert_eq!(
        refused(&[Fault::Refuse { times: 1 }, delay(1), Fault::Refuse { times: 1 }]),
        [true, true, false, false]
    );
    check(&[Fault::Refuse { times: 2 }], "0 < one", "0 one");
}

#[test]
fn chance_strikes_about_as_often_as_it_says() {
    let struck = |fault: Fault| {
        let mut faults = Faults::new(vec![fault]);
        (0..10_000_u32).filter(|_| faults.say(ms(0), &Bytes::from_static(b"abc\n")).is_empty()).count()
    };
    for seed in 0..5 {
        let count = struck(Fault::Drop { which: Which::some(0.3, seed) });
        assert!((2_800..3_200).contains(&count), "{count} of 10000");
    }
    assert_eq!(struck(Fault::Drop { which: Which::some(0.0, 1) }), 0);
    assert_eq!(struck(Fault::Drop { which: Which::some(1.0, 1) }), 10_000);
}

#[test]
fn two_kinds_of_faults_with_the_same_seed_strike_different_messages() {
    let drop = || on_the_wire(&[Fault::Drop { which: Which::some(0.5, 1) }], &sixty());
    let cut = || on_the_wire(&[Fault::Truncate { keep: 0, which: Which::some(0.5, 1) }], &sixty());
    assert_eq!(drop(), drop());
    assert_ne!(drop(), cut());
}

fn sixty() -> String {
    (0..60).map(|number| format!("{number} < {number}")).collect::<Vec<_>>().join(" | ")
}

#[test]
fn what_happens_to_a_message_does_not_depend_on_what_was_said_before() {
    let garble = [Fault::Garble { flips: 2, which: Which::some(0.5, 3) }];
    let last = |said: &str| on_the_wire(&garble, said).pop();
    assert_eq!(last("0 < a | 1 < b | 9 < abcdef"), last("0 < something long | 1 < x | 9 < abcdef"));
}

#[test]
fn copies_of_a_message_meet_their_own_fate() {
    let faults =
        [Fault::Duplicate { times: 99, gap: ms(0), which: Which::all() }, Fault::Drop { which: Which::some(0.5, 1) }];
    let count = on_the_wire(&faults, "0 < one").len();
    assert!((30..70).contains(&count), "{count} of 100");
}

#[test]
fn damage_is_the_same_on_every_machine() {
    let which = || Which::some(0.4, 1);
    let faults = [
        Fault::Drop { which: Which::some(0.2, 1) },
        Fault::Garble { flips: 1, which: which() },
        Fault::Duplicate { times: 1, gap: ms(1), which: which() },
        Fault::Jitter { most: ms(5), seed: 1 },
        fragment(Sizes::Random { seed: 1 }, 1),
    ];
    check(
        &faults,
        "0 < first | 10 < second | 20 < third | 30 < fourth | 40 < fifth | 50 < sixth",
        "0.313 f | 1.313 i | 2.313 \\xe3s | 3.313 t
         | 11.633 sec | 12.633 on | 13.633 B
         | 20.358 thi | 21.358 r | 22.358 d | 24.251 t | 25.251 hird
         | 34.193 fo | 35.193 ur | 36.193 th
         | 40.65 fif | 41.65 th",
    );
}

fn bytes_of(wire: &[Happening]) -> Vec<u8> {
    let bytes = |happening: &Happening| match happening {
        Happening::Bytes { bytes, .. } => bytes.to_vec(),
        _ => Vec::new(),
    };
    wire.iter().flat_map(bytes).collect()
}
