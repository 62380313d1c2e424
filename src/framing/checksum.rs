//! Checksums: what they are worked out from, how they are written, where they stand, and whether the one that came is right.
//!
//! A checksum stands right before or right after the end of a message, and is never part of its body. Sizes, prefixes and
//! `max_length` count the body alone. What an escape byte hides is covered as it was before it was hidden; a checksum before the
//! end is hidden like the body, one after the end is not.

use std::task::Poll;

use bytes::Bytes;

use super::catalogue::Crc;
use super::errors::{beginning, bytes};
use super::oracle::{Inquiry, Verdict};
use super::{BadFraming, BadMessage, FrameError};

/// A checksum, and how it goes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// What is worked out.
    pub function: Function,
    /// Which byte of it comes first.
    pub order: Order,
    /// How it is written.
    pub style: Style,
    /// Where it stands.
    pub place: Place,
    /// What it is worked out from.
    pub covers: Covers,
}

/// What is worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// One of the catalogue.
    Crc(Crc),
    /// The sum of all bytes, its lowest 8 bits.
    Sum8,
    /// The sum of all bytes, its lowest 16 bits.
    Sum16,
    /// All bytes, exclusive or.
    Xor8,
    /// The user's own. What it says has `size` bytes, in the order in which they are sent.
    Own {
        /// Who works it out.
        inquiry: Inquiry,
        /// How many bytes it has.
        size: usize,
    },
}

/// Which byte comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The lowest.
    Little,
    /// The highest.
    Big,
}

/// How a checksum is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As bytes.
    Raw,
    /// As hexadecimal digits, two for each byte. Either case is read.
    Hex {
        /// Written in capital letters.
        capital: bool,
    },
    /// As decimal digits, as many as its largest value has.
    Decimal,
}

/// Where a checksum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between the body and what ends it.
    BeforeEnd,
    /// After what ends the body. Where nothing does, that is the same.
    AfterEnd,
}

/// What a checksum is worked out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// The body.
    Body,
    /// The body and what comes before it.
    WithStart,
    /// The body, what comes before it, and what ends it.
    WithBoth,
}

impl Order {
    pub(super) fn bytes(self, value: u128, size: usize) -> Vec<u8> {
        let bytes = value.to_be_bytes();
        let mut bytes = bytes.get(bytes.len().saturating_sub(size)..).unwrap_or_default().to_vec();
        if self == Order::Little {
            bytes.reverse();
        }
        bytes
    }

    pub(super) fn value(self, bytes: &[u8]) -> u128 {
        let add = |value: u128, byte: &u8| (value << 8) | u128::from(*byte);
        match self {
            Order::Big => bytes.iter().fold(0, add),
            Order::Little => bytes.iter().rev().fold(0, add),
        }
    }
}

/// A message in its parts, none of them hidden by escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) start: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) end: &'a [u8],
}

/// The most that the value of a function of one's own may have.
pub const LARGEST: usize = 16;

impl Checksum {
    /// # Errors
    /// A function of one's own with no size, or one that is too large.
    pub fn check(self) -> Result<Checksum, BadFraming> {
        match self.function {
            Function::Own { size: 0, .. } => Err(BadFraming::Nothing("the size of a checksum")),
            Function::Own { size, .. } if size > LARGEST => {
                Err(BadFraming::Excluded("a checksum has at most 16 bytes"))
            }
            _ => Ok(self),
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        match &self.function {
            Function::Crc(crc) => crc.name(),
            Function::Sum8 => "Sum8",
            Function::Sum16 => "Sum16",
            Function::Xor8 => "Xor8",
            Function::Own { .. } => "the checksum",
        }
    }

    /// How many bytes its value has.
    fn size(&self) -> usize {
        match &self.function {
            Function::Crc(crc) => usize::from(crc.bits()).div_ceil(8),
            Function::Sum8 | Function::Xor8 => 1,
            Function::Sum16 => 2,
            Function::Own { size, .. } => *size,
        }
    }

    /// How many bytes it has on the wire.
    pub fn width(&self) -> usize {
        match self.style {
            Style::Raw => self.size(),
            Style::Hex { .. } => 2 * self.size(),
            Style::Decimal => self.digits(),
        }
    }

    /// How many decimal digits its largest value has.
    fn digits(&self) -> usize {
        let bits = match &self.function {
            Function::Crc(crc) => u32::from(crc.bits()),
            _ => u32::try_from(8 * self.size()).unwrap_or(u128::BITS),
        };
        let largest = 1_u128.checked_shl(bits).map_or(u128::MAX, |beyond| beyond - 1);
        largest.to_string().len()
    }

    /// The one that asks the user's code, if it does.
    pub(super) fn inquiry(&self) -> Option<&Inquiry> {
        match &self.function {
            Function::Own { inquiry, .. } => Some(inquiry),
            _ => None,
        }
    }

    pub(super) fn set_inquiry(&mut self, other: Inquiry) {
        if let Function::Own { inquiry, .. } = &mut self.function {
            *inquiry = other;
        }
    }

    fn covered(&self, parts: Parts<'_>) -> Vec<u8> {
        match self.covers {
            Covers::Body => parts.body.to_vec(),
            Covers::WithStart => [parts.start, parts.body].concat(),
            Covers::WithBoth => [parts.start, parts.body, parts.end].concat(),
        }
    }

    /// Its bytes, where nobody has to be asked.
    fn computed(&self, covered: &[u8]) -> Option<Bytes> {
        let sum = || covered.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let value = match &self.function {
            Function::Crc(crc) => crc.of(covered),
            Function::Sum8 | Function::Sum16 => u128::from(sum()),
            Function::Xor8 => covered.iter().fold(0, |all, byte| all ^ u128::from(*byte)),
            Function::Own { .. } => return None,
        };
        Some(self.order.bytes(value, self.size()).into())
    }

    fn written(&self, bytes: &[u8]) -> Vec<u8> {
        let hex = |digit: fn(&u8) -> String| bytes.iter().map(digit).collect::<String>().into_bytes();
        match self.style {
            Style::Raw => bytes.to_vec(),
            Style::Hex { capital: false } => hex(|byte| format!("{byte:02x}")),
            Style::Hex { capital: true } => hex(|byte| format!("{byte:02X}")),
            Style::Decimal => format!("{:0width$}", self.order.value(bytes), width = self.digits()).into_bytes(),
        }
    }

    /// As it goes on the wire with these parts. Runs the user's code, if it is theirs.
    pub(super) fn seal(&self, parts: Parts<'_>) -> Result<Vec<u8>, BadMessage> {
        let covered = self.covered(parts);
        let bytes = match (self.computed(&covered), self.inquiry()) {
            (None, Some(inquiry)) => inquiry.at_once(&covered)?,
            (sum, _) => sum.unwrap_or_default(),
        };
        Ok(self.written(&bytes))
    }

    /// Whether `given` is what goes with these parts. Pending: the user's code has not said so yet.
    fn verify(&self, parts: Parts<'_>, given: &[u8]) -> Poll<Result<(), FrameError>> {
        let covered = self.covered(parts);
        let verdict: Verdict = match (self.computed(&covered), self.inquiry()) {
            (None, Some(inquiry)) => match inquiry.ask(&covered) {
                Poll::Ready(verdict) => verdict,
                Poll::Pending => return Poll::Pending,
            },
            (sum, _) => Ok(sum.unwrap_or_default()),
        };
        Poll::Ready(match verdict {
            Err(fault) => Err(fault.into()),
            Ok(bytes) if self.agrees(given, &self.written(&bytes)) => Ok(()),
            Ok(bytes) => Err(FrameError::Checksum {
                name: self.name().to_owned(),
                given: self.shown(given),
                computed: self.shown(&self.written(&bytes)),
                beginning: beginning(&covered),
            }),
        })
    }

    fn agrees(&self, given: &[u8], written: &[u8]) -> bool {
        match self.style {
            Style::Hex { .. } => given.eq_ignore_ascii_case(written),
            Style::Raw | Style::Decimal => given == written,
        }
    }

    /// In hexadecimal digits, the highest first, if it is a number; else the bytes that came.
    fn shown(&self, written: &[u8]) -> String {
        let digits = 2 * self.size();
        let text = std::str::from_utf8(written).unwrap_or_default();
        let value = match self.style {
            Style::Raw => Some(self.order.value(written)),
            Style::Hex { .. } if written.iter().all(u8::is_ascii_hexdigit) => {
                let number = u128::from_str_radix(text, 16).ok();
                number.map(|number| self.order.value(&Order::Big.bytes(number, self.size())))
            }
            Style::Decimal if written.iter().all(u8::is_ascii_digit) => text.parse().ok(),
            Style::Hex { .. } | Style::Decimal => None,
        };
        value.map_or_else(|| crate::error::Shown(written).to_string(), |value| format!("0x{value:0digits$X}"))
    }
}

/// How many bytes of checksum there are between a body and its end.
pub(super) fn before_end(checksum: Option<&Checksum>) -> usize {
    checksum.filter(|checksum| checksum.place == Place::BeforeEnd).map_or(0, Checksum::width)
}

/// How many bytes of checksum there are after the end of a message.
pub(super) fn after_end(checksum: Option<&Checksum>) -> usize {
    checksum.filter(|checksum| checksum.place == Place::AfterEnd).map_or(0, Checksum::width)
}

/// How much of `inner`, what stands between a start and an end, is body; and whether its checksum is right. `after` is as much of
/// what follows the end as [`after_end`] asks for.
pub(super) fn open(
    checksum: Option<&Checksum>,
    start: &[u8],
    inner: &[u8],
    end: &[u8],
    after: &[u8],
) -> Poll<Result<usize, FrameError>> {
    let Some(checksum) = checksum else { return Poll::Ready(Ok(inner.len())) };
    let (body, given) = match checksum.place {
        Place::AfterEnd => (inner, after),
        Place::BeforeEnd => match inner.len().checked_sub(checksum.width()).and_then(|at| inner.split_at_checked(at)) {
            Some(parts) => parts,
            None => {
                let why = format!("too short for its checksum of {}", bytes(checksum.width()));
                return Poll::Ready(Err(FrameError::broken(why, inner)));
            }
        },
    };
    checksum.verify(Parts { start, body, end }, given).map(|right| right.map(|()| body.len()))
}
