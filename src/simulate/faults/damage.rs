//! Faults that change what comes: less, other bytes, more than was said, or no cable at all.

use std::time::Duration;

use bytes::BytesMut;

use super::Which;
use super::dice::Dice;
use super::spoken::{Item, Spoken};

/// The dice for what a fault of this kind does to it, if it is struck. An echo has no number: a fault that is meant for
/// certain messages spares it.
pub(super) fn struck(spoken: &Spoken, which: &Which, kind: u64) -> Option<Dice> {
    let meant = match (&which.only, spoken.number()) {
        (None, _) => true,
        (Some(only), Some(number)) => only.contains(&number),
        (Some(_), None) => false,
    };
    let mut dice = spoken.dice(kind, which.seed);
    (meant && dice.happens(which.chance)).then_some(dice)
}

/// With other bits in `flips` of its bytes, or in all if it has fewer.
pub(super) fn garbled(mut spoken: Spoken, flips: usize, mut dice: Dice) -> Spoken {
    let mut ahead = spoken.length();
    let mut flips = flips.min(ahead);
    for piece in &mut spoken.pieces {
        let mut bytes = BytesMut::from(piece.bytes.as_ref());
        for byte in bytes.iter_mut() {
            // Knuth's selection sampling: as many as are wanted, each set of places as likely as any other.
            if dice.below(ahead as u64) < flips as u64 {
                let flipped = u8::try_from(dice.below(255)).unwrap_or(0) + 1;
                *byte ^= flipped;
                flips -= 1;
            }
            ahead -= 1;
        }
        piece.bytes = bytes.freeze();
    }
    spoken
}

/// It, and `times` times again.
pub(super) fn again(spoken: Spoken, times: u32, gap: Duration) -> Vec<Item> {
    let of = times.saturating_add(1);
    let (Some(begins), Some(ends)) = (spoken.begins(), spoken.ends()) else { return Vec::new() };
    let period = ends.saturating_sub(begins).saturating_add(gap);
    (0..of).map(|nth| Item::Spoken(spoken.again(nth, of).later_by(period.saturating_mul(nth)))).collect()
}

/// Whether it is one of the `messages` after the first `after`.
pub(super) fn silent(spoken: &Spoken, after: u64, messages: Option<u64>) -> bool {
    let end = messages.map_or(u64::MAX, |messages| after.saturating_add(messages));
    spoken.number().is_some_and(|number| number > after && number <= end)
}

/// What comes of it if the cable is pulled with it, or within it. Where that should have been before, because the
/// message itself never came, the next that comes is the one.
pub(super) fn broken_off(spoken: Spoken, after: u64, in_message: Option<usize>, back: Option<Duration>) -> Vec<Item> {
    let number = spoken.number().unwrap_or(0);
    let (Some(begins), Some(ends)) = (spoken.begins(), spoken.ends()) else { return vec![Item::Spoken(spoken)] };
    match in_message {
        None if number >= after => vec![Item::Spoken(spoken), Item::Away { at: ends, back }],
        Some(keep) if number > after => {
            let beginning = spoken.beginning(keep);
            let at = beginning.ends().unwrap_or(begins);
            vec![Item::Spoken(beginning), Item::Away { at, back }]
        }
        None | Some(_) => vec![Item::Spoken(spoken)],
    }
}
