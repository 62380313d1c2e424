//! What was read for somebody who has not fetched it yet: given, and taken back if he leaves. No I/O.
//!
//! # Invariants
//! 1. While a value is unclaimed nobody else gets one from the same source, or two readers could swap their bytes.
//! 2. What is taken back goes to the front of where it came from, as it came.

use bytes::{Bytes, BytesMut};

use super::conversation::{Conversation, Current, Owed};
use super::job::{Job, Sink};
use super::limits::take_first;
use super::ticket::{Answer, Lent};
use crate::clock::{Moment, Stamp};

/// A value that was given, and may still be taken back.
#[derive(Debug)]
pub(super) struct Loan {
    id: u64,
    lent: Lent,
    from: Source,
}

/// Where a value goes back to.
#[derive(Debug)]
pub(super) enum Source {
    /// To the input of the exchange `id`, which is `owed` it again.
    Talk { id: u64, taken: Vec<Bytes>, owed: Option<Owed> },
    /// To the input.
    Wire(Bytes),
    /// To the messages that nobody asked for.
    Unasked,
}

impl Loan {
    /// See [`Lent::settle`].
    pub(super) fn settle(&self) {
        self.lent.settle();
    }
}

impl Conversation {
    /// Whether a lent value still waits to be claimed; whoever comes next then has to wait too, or two readers could swap their bytes.
    pub(super) fn is_lending(&mut self) -> bool {
        while let Some(loan) = self.lent.front() {
            if loan.lent.is_unclaimed(&self.myself) {
                return true;
            }
            self.lent.pop_front();
        }
        false
    }

    /// Gives a value that can be taken back while it is unclaimed.
    pub(super) fn lend(&mut self, job: Job, answer: Answer, from: Source) {
        let id = job.id;
        self.show();
        if let Sink::Ticket(reply) = job.reply {
            self.lent.push_back(Loan { id, lent: reply.lend(answer), from });
        }
    }

    /// What was read for an await that was cancelled goes back to the front.
    pub(super) fn take_back(&mut self, id: u64, now: Stamp) {
        let Some(loan) = take_first(&mut self.lent, |loan| loan.id == id) else { return };
        let about = Box::new(self.evidence(None, None, Bytes::new(), Moment::NEVER));
        let Some(answer) = loan.lent.take_back(about) else { return };
        match loan.from {
            Source::Talk { id, taken, owed } => match &mut self.current {
                Some(Current::Talk(talk)) if talk.id == id => {
                    talk.owe_again(owed);
                    self.unread(&taken);
                }
                // Its exchange is over, and a reply belongs to nobody else.
                _ => self.drop_late(taken.concat().into(), now),
            },
            // Whoever has the line now did not ask for it.
            Source::Wire(bytes) if self.current.is_some() || self.debt.is_some() => put_before(&mut self.stale, &bytes),
            Source::Wire(bytes) => self.unread(&[bytes]),
            Source::Unasked => {
                if let Answer::Message(heard, _) = answer {
                    self.unasked.put_back(heard);
                }
            }
        }
    }

    /// Puts what was taken from the input back to its front: it can be read again, in any way.
    pub(super) fn unread(&mut self, taken: &[Bytes]) {
        for bytes in taken.iter().rev() {
            put_before(&mut self.input, bytes);
        }
    }
}

fn put_before(buffer: &mut BytesMut, bytes: &[u8]) {
    let rest = std::mem::replace(buffer, BytesMut::from(bytes));
    buffer.unsplit(rest);
}
