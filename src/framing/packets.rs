//! Messages that come in packets of their own, as USB has them. A stream has no packets, so the pipe that does writes each one's length
//! before it, and this takes it off again; what is sent needs none, as a frame is written whole.

use bytes::{Buf, Bytes, BytesMut};

use super::errors::{BadMessage, FrameError, bytes};
use super::{Frames, Message};

/// Bytes of the length that stands before a packet.
const LENGTH: usize = 4;

/// Stands in a packet's place where the device refused something.
const REFUSED: u32 = u32::MAX;

/// What came as one packet is one message. Only for a pipe that keeps packets apart; see `transport/packets.rs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packets;

impl Packets {
    /// What a pipe puts into its stream for a packet.
    pub fn mark(packet: &[u8], stream: &mut BytesMut) {
        // A transfer is far smaller.
        let length = u32::try_from(packet.len()).unwrap_or(REFUSED - 1);
        stream.extend_from_slice(&length.to_be_bytes());
        stream.extend_from_slice(packet);
    }

    /// What came over the wire, of a stream with marks in it: the packets alone.
    pub fn unmarked(mut stream: &[u8]) -> Bytes {
        let mut packets = BytesMut::with_capacity(stream.len());
        while let Some((mark, rest)) = stream.split_first_chunk::<LENGTH>() {
            let length = match u32::from_be_bytes(*mark) {
                REFUSED => 0,
                length => usize::try_from(length).unwrap_or(usize::MAX).min(rest.len()),
            };
            let (packet, rest) = rest.split_at(length);
            packets.extend_from_slice(packet);
            stream = rest;
        }
        packets.freeze()
    }

    /// What a pipe puts into its stream where the device refused to take or to give something.
    pub fn mark_refusal(stream: &mut BytesMut) {
        stream.extend_from_slice(&REFUSED.to_be_bytes());
    }
}

impl Frames for Packets {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        if body.is_empty() {
            return Err(BadMessage::Unfit {
                body: Bytes::new(),
                why: "has no bytes, and a packet has some".to_owned(),
            });
        }
        Ok(Bytes::copy_from_slice(body))
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let Some(length) = received.get(..LENGTH).map(|mut length| length.get_u32()) else { return Ok(None) };
        if length == REFUSED {
            return Err(FrameError::broken("the device refused it (its endpoint stalled)", &received.split_to(LENGTH)));
        }
        let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(LENGTH);
        if received.len() < end {
            return Ok(None);
        }
        let wire = received.split_to(end).freeze();
        Ok(Some(Message { body: wire.slice(LENGTH..), wire }))
    }

    fn describe(&self) -> String {
        "packets".to_owned()
    }

    fn hint(&self, heard: &[u8]) -> String {
        format!("{} came, and no whole packet", bytes(heard.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_marks_a_stream_is_what_came_over_the_wire() {
        let mut stream = BytesMut::new();
        Packets::mark(b"one", &mut stream);
        Packets::mark_refusal(&mut stream);
        Packets::mark(b"", &mut stream);
        Packets::mark(b"\0\0\0\x09two", &mut stream);
        assert_eq!(Packets::unmarked(&stream), "one\0\0\0\x09two");
        assert_eq!(Packets::unmarked(&stream[..6]), "on", "as far as it goes");
        assert_eq!(Packets::unmarked(b""), "");
    }
}
