//! The user's own framing: its functions are asked, and their answers kept as long as they hold.

use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::errors::bytes;
use super::oracle::{Inquiry, Oracle, Verdict};
use super::{BadFraming, BadMessage, FrameError, Frames, Message};
use crate::error::Cause;

/// What `take` says: how many bytes it removed (8 bytes, the lowest first), and, unless it found no message, a 1 and the message.
const HEADER: usize = 8;

/// A framing of the user's own.
#[derive(Clone)]
pub struct Own {
    name: String,
    encode: Arc<dyn Oracle>,
    take: Inquiry,
    max_length: usize,
}

impl Own {
    /// `encode`: a body to what goes on the wire. `take`: what has come to what it says of it: [`Own::said`]. `max_length`: the most
    /// that may come without a message in it.
    ///
    /// # Errors
    /// Nothing fits.
    pub fn new(
        name: String,
        encode: Arc<dyn Oracle>,
        take: Arc<dyn Oracle>,
        max_length: usize,
    ) -> Result<Own, BadFraming> {
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        Ok(Own { name, encode, take: Inquiry::of(take), max_length })
    }

    /// What `take` says that removed so many bytes and found `message`.
    pub fn said(removed: usize, message: Option<&[u8]>) -> Bytes {
        let mut said = u64::try_from(removed).unwrap_or(u64::MAX).to_le_bytes().to_vec();
        if let Some(message) = message {
            said.push(1);
            said.extend_from_slice(message);
        }
        said.into()
    }

    fn heard(said: &Bytes) -> Option<(usize, Option<Bytes>)> {
        let (removed, _) = said.split_first_chunk::<HEADER>()?;
        let removed = usize::try_from(u64::from_le_bytes(*removed)).ok()?;
        Some((removed, (said.len() > HEADER).then(|| said.slice(HEADER + 1..))))
    }

    pub(super) fn set_inquiry(&mut self, inquiry: Inquiry) {
        self.take = inquiry;
    }

    pub(super) fn inquiry(&self) -> &Inquiry {
        &self.take
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Own) -> bool {
        self.take == other.take
    }
}

impl Eq for Own {}

impl Frames for Own {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        Ok(self.encode.at_once(body)?)
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        loop {
            let shown = received.get(..self.max_length).unwrap_or(received);
            if shown.is_empty() {
                return Ok(None);
            }
            let found_nothing = |verdict: &Verdict| {
                verdict.as_ref().is_ok_and(|said| Own::heard(said).is_some_and(|heard| heard == (0, None)))
            };
            // What was said of the beginning holds, but for "no message yet" when more has come.
            let asked = self.take.ask_unless(shown, |asked, verdict| {
                shown.starts_with(asked) && (asked.len() == shown.len() || !verdict.is_some_and(found_nothing))
            });
            let Poll::Ready((length, verdict)) = asked else { return Ok(None) };
            let heard = match &verdict {
                Ok(said) => Own::heard(said),
                Err(_) => None,
            };
            if heard == Some((0, None)) {
                if shown.len() < self.max_length {
                    return Ok(None);
                }
                self.take.forget(&Bytes::copy_from_slice(shown));
                return Err(FrameError::too_long(self.max_length, &received.split_to(self.max_length)));
            }
            self.take.forget(&Bytes::copy_from_slice(shown.get(..length).unwrap_or_default()));
            // Whatever is wrong, something has to go: one byte, as more would depend on how much had come.
            let within = |removed: usize| removed.clamp(1, length.max(1));
            return match (verdict, heard) {
                (Err(fault), _) => {
                    let _ = received.split_to(within(fault.removed));
                    Err(fault.into())
                }
                (Ok(_), Some((removed, Some(body)))) if (1..=length).contains(&removed) => {
                    Ok(Some(Message { body, wire: received.split_to(removed).freeze() }))
                }
                (Ok(_), Some((removed, None))) if removed <= length => {
                    // Dropped in silence, as the user's code wants it.
                    let _ = received.split_to(removed);
                    continue;
                }
                (Ok(_), other) => {
                    let removed = within(other.map_or(0, |(removed, _)| removed));
                    let _ = received.split_to(removed);
                    let raised = "an answer that fits nothing it was shown".to_owned();
                    Err(FrameError::Raised { what: self.take.name().to_owned(), raised, cause: Cause(Arc::new(())) })
                }
            };
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn hint(&self, heard: &[u8]) -> String {
        format!("{} came, in which {} finds no message", bytes(heard.len()), self.take.name())
    }
}
