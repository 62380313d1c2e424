//! What is on its way to the host, and when each piece of it comes.

use std::time::Duration;

use bytes::Bytes;

use super::Happening;
use super::dice::Dice;

/// What passes from one fault to the next.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Spoken(Spoken),
    /// The cable is pulled at `at`, and plugged in again that long afterwards.
    Away {
        at: Duration,
        back: Option<Duration>,
    },
}

impl Item {
    pub(super) fn happenings(self) -> Vec<Happening> {
        match self {
            Item::Spoken(spoken) => {
                spoken.pieces.into_iter().map(|Piece { at, bytes }| Happening::Bytes { at, bytes }).collect()
            }
            Item::Away { at, back } => {
                let back = back.map(|back| Happening::Reconnect { at: at.saturating_add(back) });
                [Happening::Disconnect { at }].into_iter().chain(back).collect()
            }
        }
    }
}

/// A message or an echo, in the pieces in which it comes. None of them is empty, and their times never go back.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    /// Its number; None: it is an echo.
    message: Option<u64>,
    /// Tells it from all others of its kind, repetitions too.
    marks: [u64; 2],
    pub(super) pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) at: Duration,
    pub(super) bytes: Bytes,
}

impl Spoken {
    pub(super) fn message(number: u64, at: Duration, bytes: Bytes) -> Spoken {
        Spoken { message: Some(number), marks: [number, 0], pieces: whole(at, bytes) }
    }

    pub(super) fn echo(number: u64, at: Duration, bytes: Bytes) -> Spoken {
        // Echoes and messages of the same number do not share their dice.
        Spoken { message: None, marks: [!number, 0], pieces: whole(at, bytes) }
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.message
    }

    /// What chance has for it alone. `fault` tells the kinds of faults apart, which may have the same seed.
    pub(super) fn dice(&self, fault: u64, seed: u64) -> Dice {
        let [number, copy] = self.marks;
        Dice::of(seed, &[fault, number, copy])
    }

    /// The same again: the `nth` of `of` in all.
    pub(super) fn again(&self, nth: u32, of: u32) -> Spoken {
        let [number, copy] = self.marks;
        let copy = copy.wrapping_mul(u64::from(of)).wrapping_add(u64::from(nth));
        Spoken { marks: [number, copy], ..self.clone() }
    }

    pub(super) fn begins(&self) -> Option<Duration> {
        self.pieces.first().map(|piece| piece.at)
    }

    pub(super) fn ends(&self) -> Option<Duration> {
        self.pieces.last().map(|piece| piece.at)
    }

    pub(super) fn length(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    pub(super) fn later_by(mut self, span: Duration) -> Spoken {
        for piece in &mut self.pieces {
            piece.at = piece.at.saturating_add(span);
        }
        self
    }

    /// The whole of it later if it would begin before `time`: what is between its pieces stays.
    pub(super) fn not_before(self, time: Duration) -> Spoken {
        let early = self.begins().map_or(Duration::ZERO, |begins| time.saturating_sub(begins));
        self.later_by(early)
    }

    /// Its first `keep` bytes.
    pub(super) fn beginning(mut self, keep: usize) -> Spoken {
        let mut left = keep;
        for piece in &mut self.pieces {
            piece.bytes.truncate(left);
            left -= piece.bytes.len();
        }
        self.pieces.retain(|piece| !piece.bytes.is_empty());
        self
    }
}

fn whole(at: Duration, bytes: Bytes) -> Vec<Piece> {
    if bytes.is_empty() { Vec::new() } else { vec![Piece { at, bytes }] }
}
