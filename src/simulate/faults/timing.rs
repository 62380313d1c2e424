//! Faults of time: every byte comes, in its order, but when and in which pieces is another matter.

use std::iter;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::Sizes;
use super::spoken::{Piece, Spoken};
use super::stage::kind;

/// Later by anything up to `most`.
pub(super) fn late(spoken: Spoken, most: Duration, seed: u64) -> Spoken {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    let by = spoken.dice(kind::JITTER, seed).below(nanos.saturating_add(1));
    spoken.later_by(Duration::from_nanos(by))
}

/// As it comes out of a line of this speed which is taken until `free`.
pub(super) fn paced(mut spoken: Spoken, free: Duration, baudrate: NonZeroU32, bits: NonZeroU32) -> Spoken {
    // As many as go into a millisecond, a frame of USB at full speed.
    let at_once = usize::try_from(baudrate.get() / bits.get() / 1_000).unwrap_or(1).max(1);
    let mut free = free;
    let mut paced = Vec::new();
    for Piece { at, mut bytes } in spoken.pieces {
        let begins = at.max(free);
        let mut through = 0;
        while !bytes.is_empty() {
            let piece = bytes.split_to(at_once.min(bytes.len()));
            through += piece.len();
            // Counted from the beginning, so that nothing adds up that was rounded.
            free = begins.saturating_add(time_of(through, baudrate, bits));
            paced.push(Piece { at: free, bytes: piece });
        }
    }
    spoken.pieces = paced;
    spoken
}

/// How long so many bytes take on the line.
fn time_of(bytes: usize, baudrate: NonZeroU32, bits: NonZeroU32) -> Duration {
    let nanos = (bytes as u128 * u128::from(bits.get()) * 1_000_000_000).div_ceil(u128::from(baudrate.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// In pieces of these sizes.
pub(super) fn fragmented(mut spoken: Spoken, sizes: &Sizes, gap: Duration) -> Spoken {
    let longest = u64::try_from(spoken.length() / 4).unwrap_or(u64::MAX).max(4);
    match sizes {
        Sizes::Every(size) => spoken.pieces = cut(spoken.pieces, iter::repeat(size.get()), gap),
        Sizes::Given(sizes) => spoken.pieces = cut(spoken.pieces, sizes.iter().copied().map(NonZeroUsize::get), gap),
        Sizes::Random { seed } => {
            let mut dice = spoken.dice(kind::FRAGMENT, *seed);
            let any = move || usize::try_from(dice.below(longest)).unwrap_or(0) + 1;
            spoken.pieces = cut(spoken.pieces, iter::repeat_with(any), gap);
        }
    }
    spoken
}

/// What has been cut already is cut further; it is never joined again.
fn cut(pieces: Vec<Piece>, mut sizes: impl Iterator<Item = usize>, gap: Duration) -> Vec<Piece> {
    let mut whole = sizes.next().unwrap_or(usize::MAX);
    let mut earliest = Duration::ZERO;
    let mut found: Vec<Piece> = Vec::new();
    for Piece { at, mut bytes } in pieces {
        while !bytes.is_empty() {
            let piece = bytes.split_to(whole.min(bytes.len()));
            whole -= piece.len();
            let at = at.max(earliest);
            found.push(Piece { at, bytes: piece });
            earliest = at;
            if whole == 0 {
                whole = sizes.next().unwrap_or(usize::MAX);
                earliest = at.saturating_add(gap);
            }
        }
    }
    found
}

/// At the end of the time that holds it back: the one that runs until `end`, or its own.
pub(super) fn coalesced(mut spoken: Spoken, end: Duration, within: Duration) -> Spoken {
    let mut end = end;
    for piece in &mut spoken.pieces {
        if piece.at >= end {
            end = piece.at.saturating_add(within);
        }
        piece.at = end;
    }
    spoken
}
