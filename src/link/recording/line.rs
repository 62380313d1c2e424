//! An event as one line of a recording: JSON, so that other programs can read it. Pure.

use std::fmt::Write as _;

use crate::clock::Moment;
use crate::link::trace::{Direction, Event};

/// `event` as a line, its end included. `t` counts from `began`; the bytes are in `b64`; `txt` shows them to people.
pub(super) fn line(event: &Event, began: Moment) -> String {
    let mut line = opening(event.at.moment, began, event.direction.sign());
    if !event.data.is_empty() {
        let _infallible = write!(line, ",\"b64\":\"{}\"", base64(&event.data));
    }
    line.push_str(",\"txt\":");
    if event.direction == Direction::Note {
        quote(&mut line, event.note.chars());
    } else {
        quote(&mut line, event.data.iter().copied().map(char::from));
    }
    line.push_str("}\n");
    line
}

/// The line for `events` of `bytes` bytes that were not written down, the last of them at `at`.
pub(super) fn gap(events: u64, bytes: u64, at: Moment, began: Moment) -> String {
    let mut line = opening(at, began, Direction::Note.sign());
    let told = format!("{events} events of {bytes} bytes were not written down: the file took them too slowly");
    let _infallible = write!(line, ",\"dropped\":{events},\"txt\":");
    quote(&mut line, told.chars());
    line.push_str("}\n");
    line
}

fn opening(at: Moment, began: Moment, sign: &str) -> String {
    format!("{{\"t\":{:.6},\"dir\":\"{sign}\"", at.since(began).as_secs_f64())
}

/// A JSON string that is ASCII, whatever an editor or a diff makes of the file.
fn quote(line: &mut String, text: impl Iterator<Item = char>) {
    line.push('"');
    for character in text {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            ' '..='~' => line.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _infallible = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
    line.push('"');
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| group.get(index).copied().map_or(0, u32::from);
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4_usize {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let digit = DIGITS.get(digit).copied().map_or('=', char::from);
            text.push(if place <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::clock::Stamp;

    fn event(direction: Direction, data: &'static [u8], note: &str) -> Event {
        let moment = Moment::NEVER - Duration::from_secs(1);
        let at = Stamp { moment, epoch: Duration::ZERO };
        Event { at, direction, data: Bytes::from_static(data), note: note.to_owned() }
    }

    #[test]
    fn an_event_is_one_line_of_ascii() {
        let began = Moment::NEVER - Duration::from_secs(1) - Duration::from_micros(12_345);
        let said = |direction, data, note| line(&event(direction, data, note), began);
        assert_eq!(
            said(Direction::Out, b"*IDN?\r\n", ""),
            "{\"t\":0.012345,\"dir\":\">\",\"b64\":\"KklETj8NCg==\",\"txt\":\"*IDN?\\r\\n\"}\n"
        );
        assert_eq!(
            said(Direction::In, b"\"\\\x00\xff\x7f", ""),
            "{\"t\":0.012345,\"dir\":\"<\",\"b64\":\"IlwA/38=\",\"txt\":\"\\\"\\\\\\u0000\\u00ff\\u007f\"}\n"
        );
        assert_eq!(
            said(Direction::Note, b"", "lost: \u{1f50c}"),
            "{\"t\":0.012345,\"dir\":\"!\",\"txt\":\"lost: \\ud83d\\udd0c\"}\n"
        );
    }

    #[test]
    fn what_happened_before_the_beginning_happened_at_it() {
        let later = Moment::NEVER;
        assert!(line(&event(Direction::Out, b"x", ""), later).starts_with("{\"t\":0.000000,"));
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }
}
