//! What holds for all faults together: nothing goes back in time, the same faults do the same damage, and what does no
//! harm delivers every byte in its order.

#![cfg(test)]

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use labtether::simulate::faults::{Fault, Faults, Happening, Sizes, Which};
use proptest::prelude::*;

fn bytes_of(wire: &[Happening]) -> Vec<u8> {
    let bytes = |happening: &Happening| match happening {
        Happening::Bytes { bytes, .. } => bytes.to_vec(),
        _ => Vec::new(),
    };
    wire.iter().flat_map(bytes).collect()
}

fn some_which() -> impl Strategy<Value = Which> {
    let only = prop::option::of(prop::collection::btree_set(1_u64..8, 0..4));
    (only, 0.0..=1.0, any::<u64>()).prop_map(|(only, chance, seed)| Which { only, chance, seed })
}

fn span(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most).prop_map(Duration::from_micros)
}

fn size() -> impl Strategy<Value = NonZeroUsize> {
    (1..9_usize).prop_map(|size| NonZeroUsize::new(size).expect("is not 0"))
}

fn number(end: u32) -> impl Strategy<Value = NonZeroU32> {
    (1..end).prop_map(|number| NonZeroU32::new(number).expect("is not 0"))
}

fn harmless() -> impl Strategy<Value = Fault> {
    let sizes = prop_oneof![
        size().prop_map(Sizes::Every),
        prop::collection::vec(size(), 0..4).prop_map(Sizes::Given),
        any::<u64>().prop_map(|seed| Sizes::Random { seed }),
    ];
    prop_oneof![
        (span(50_000), some_which()).prop_map(|(by, which)| Fault::Delay { by, which }),
        (span(50_000), any::<u64>()).prop_map(|(most, seed)| Fault::Jitter { most, seed }),
        (number(1_000_000), number(20)).prop_map(|(baudrate, bits)| Fault::Rate { baudrate, bits }),
        (sizes, span(9_000)).prop_map(|(sizes, gap)| Fault::Fragment { sizes, gap }),
        span(50_000).prop_map(|within| Fault::Coalesce { within }),
    ]
}

fn harmful() -> impl Strategy<Value = Fault> {
    let count = || 0..6_u64;
    prop_oneof![
        some_which().prop_map(|which| Fault::Drop { which }),
        (1..9_usize, some_which()).prop_map(|(flips, which)| Fault::Garble { flips, which }),
        (1..4_u32, span(9_000), some_which()).prop_map(|(times, gap, which)| Fault::Duplicate { times, gap, which }),
        Just(Fault::Echo),
        (0..9_usize, some_which()).prop_map(|(keep, which)| Fault::Truncate { keep, which }),
        (count(), prop::option::of(count())).prop_map(|(after, messages)| Fault::Silence { after, messages }),
        (count(), prop::option::of(0..9_usize), prop::option::of(span(50_000)))
            .prop_map(|(after, in_message, back)| Fault::Disconnect { after, in_message, back }),
        count().prop_map(|times| Fault::Refuse { times }),
    ]
}

/// How long after the one before, whether it is the instrument that speaks, and what.
fn conversation() -> impl Strategy<Value = Vec<(Duration, bool, Vec<u8>)>> {
    prop::collection::vec((span(30_000), any::<bool>(), prop::collection::vec(any::<u8>(), 0..30)), 0..12)
}

/// What comes of it, call by call, each with the time of the call.
fn replay(faults: &[Fault], conversation: &[(Duration, bool, Vec<u8>)]) -> Vec<(Duration, Vec<Happening>)> {
    let mut faults = Faults::new(faults.to_vec());
    let mut at = Duration::ZERO;
    let one = |(after, says, bytes): &(Duration, bool, Vec<u8>)| {
        at += *after;
        let bytes = Bytes::copy_from_slice(bytes);
        (at, if *says { faults.say(at, &bytes) } else { faults.hear(at, &bytes) })
    };
    conversation.iter().map(one).collect()
}

proptest! {
    #[test]
    fn what_is_harmless_delivers_every_byte_in_its_order(
        faults in prop::collection::vec(harmless(), 0..5),
        conversation in conversation(),
    ) {
        let came: Vec<u8> = replay(&faults, &conversation).iter().flat_map(|(_, wire)| bytes_of(wire)).collect();
        let said: Vec<u8> = conversation.iter().filter(|(_, says, _)| *says).flat_map(|(_, _, said)| said.clone()).collect();
        prop_assert_eq!(came, said);
    }

    #[test]
    fn times_never_go_back_and_nothing_comes_before_it_was_said(
        faults in prop::collection::vec(prop_oneof![harmless(), harmful()], 0..6),
        conversation in conversation(),
    ) {
        let mut last = Duration::ZERO;
        for (at, wire) in replay(&faults, &conversation) {
            prop_assert!(wire.is_sorted_by_key(Happening::at), "{:?}", wire);
            // That the cable will be plugged in again is told in advance.
            for happening in wire.iter().filter(|happening| !matches!(happening, Happening::Reconnect { .. })) {
                prop_assert!(happening.at() >= at.max(last), "{:?} before {:?}", happening, at.max(last));
                last = happening.at();
            }
        }
    }

    #[test]
    fn the_same_faults_do_the_same_damage(
        faults in prop::collection::vec(prop_oneof![harmless(), harmful()], 0..6),
        conversation in conversation(),
    ) {
        prop_assert_eq!(replay(&faults, &conversation), replay(&faults, &conversation));
    }

    #[test]
    fn no_faults_change_nothing(conversation in conversation()) {
        for ((at, wire), (_, says, bytes)) in replay(&[], &conversation).iter().zip(&conversation) {
            let said = Happening::Bytes { at: *at, bytes: Bytes::copy_from_slice(bytes) };
            let expected = if *says && !bytes.is_empty() { vec![said] } else { Vec::new() };
            prop_assert_eq!(wire, &expected);
        }
    }
}
