//! Instruments that repeat what they hear: the echo of what was written comes first, is compared, and taken out.

use bytes::Bytes;

use super::conversation::{Conversation, Current};
use super::job::What;
use super::rules;
use crate::clock::Stamp;
use crate::error::{LinkError, Shown};
use crate::framing::FrameError;

/// What is to come back.
#[derive(Debug)]
pub(super) struct Echo {
    /// The bytes, or the body.
    expected: Bytes,
    /// How many of them are the command; an instrument may repeat it without what ends it.
    command: usize,
    line: bool,
    /// Whoever wrote it has left: it is a part of what is owed, and no longer awaited than that.
    is_owed: bool,
}

enum Found {
    NotYet,
    Right,
    Wrong(Bytes),
}

impl Conversation {
    /// `frame`, which says `command`, was written whole.
    pub(super) fn expect_echo(&mut self, frame: &Bytes, command: &Bytes) {
        let (expected, line) = match self.rules.echo {
            rules::Echo::None => return,
            rules::Echo::Bytes => (frame.clone(), false),
            rules::Echo::Line => (command.clone(), true),
        };
        let command = if expected.starts_with(command) { command.len() } else { expected.len() };
        self.echoes.push_back(Echo { expected, command, line, is_owed: false });
    }

    /// The same for a frame whose asker has left.
    pub(super) fn owe_echo(&mut self, frame: &Bytes, command: &Bytes) {
        self.expect_echo(frame, command);
        if let (Some(echo), true) = (self.echoes.back_mut(), self.debt.is_some()) {
            echo.is_owed = true;
        }
    }

    /// What was owed is not waited for any more.
    pub(super) fn forget_owed_echoes(&mut self) {
        self.echoes.retain(|echo| !echo.is_owed);
    }

    /// Takes the next echo out. Returns whether more could be done.
    pub(super) fn hear_echo(&mut self, at: Stamp) -> bool {
        let Some(echo) = self.echoes.front() else { return false };
        let (expected, command, line) = (echo.expected.clone(), echo.command, echo.line);
        let found = if line { self.echoed_line(&expected, at) } else { self.echoed_bytes(&expected, command, at) };
        match found {
            Err(error) => self.not_echoed(&expected, &error.to_string(), at),
            Ok(Found::NotYet) => return false,
            Ok(Found::Right) => {
                self.echoes.pop_front();
            }
            Ok(Found::Wrong(came)) => {
                self.not_echoed(&expected, &format!("{} came", Shown(&came)), at);
            }
        }
        true
    }

    fn echoed_line(&mut self, expected: &Bytes, at: Stamp) -> Result<Found, FrameError> {
        let Some(framing) = self.rules.framing.clone() else { return Ok(Found::NotYet) };
        let Some(message) = self.cut_message(&framing, at)? else { return Ok(Found::NotYet) };
        if message.body == expected {
            return Ok(Found::Right);
        }
        if self.is_unsolicited(&message.body) {
            self.deliver_unasked(message.body, at);
            return self.echoed_line(expected, at);
        }
        Ok(Found::Wrong(message.body))
    }

    fn echoed_bytes(&mut self, expected: &Bytes, command: usize, at: Stamp) -> Result<Found, FrameError> {
        let many = self.input.len().min(expected.len());
        let alike = self.input.iter().zip(expected).take_while(|(came, was)| came == was).count();
        if alike == expected.len() || (alike < many && alike >= command && command > 0) {
            let _ = self.input.split_to(if alike == expected.len() { alike } else { command });
            return Ok(Found::Right);
        }
        if alike == many {
            return Ok(Found::NotYet);
        }
        // Something unsolicited may have come in between.
        if let (Some(framing), true) = (self.rules.framing.clone(), self.rules.unsolicited.is_some())
            && let Some(message) = self.cut_message(&framing, at)?
        {
            if self.is_unsolicited(&message.body) {
                self.deliver_unasked(message.body, at);
                return self.echoed_bytes(expected, command, at);
            }
            return Ok(Found::Wrong(message.wire));
        }
        Ok(if self.rules.unsolicited.is_some() {
            Found::NotYet
        } else {
            Found::Wrong(super::turns::taken(&mut self.input))
        })
    }

    /// The line does not say what was written: whoever waits is told, and nothing more of it is believed.
    fn not_echoed(&mut self, expected: &Bytes, why: &str, at: Stamp) {
        self.echoes.clear();
        let why = format!("its echo is not what was written: {} was, {why}", Shown(expected));
        self.trace.note(at, why.clone());
        match self.current.take() {
            Some(Current::Query(asked)) => {
                let about = self.about(&asked.job, asked.started, at.moment);
                self.owe_anything(self.rules.drain, at.moment);
                self.give(asked.job, Err(LinkError::Frame { about, why, cause: None }), at.moment);
                self.restore_stale();
            }
            Some(Current::Talk(mut talk)) => {
                let asking = talk.asks.pop_front();
                talk.give_up();
                if asking.is_none() {
                    let about = Box::new(self.evidence(None, None, Bytes::new(), at.moment));
                    talk.failed = Some(LinkError::Frame { about, why: why.clone(), cause: None });
                }
                self.current = Some(Current::Talk(talk));
                if let Some(waiting) = asking {
                    let about = self.about(&waiting.job, None, at.moment);
                    self.give(waiting.job, Err(LinkError::Frame { about, why, cause: None }), at.moment);
                }
            }
            other => self.current = other,
        }
    }

    /// Echoes that have not come are owed, before anything else is.
    pub(super) fn owe_echoes(&mut self) {
        for echo in &mut self.echoes {
            echo.is_owed = true;
        }
    }

    /// The command of a frame that was sent, for its echo.
    pub(super) fn said(what: &What) -> Option<(Bytes, Bytes)> {
        match what {
            What::Query(question) => Some((question.frame.clone(), question.command.clone())),
            What::Send { frame, command, raw: false, .. } => Some((frame.clone(), command.clone())),
            _ => None,
        }
    }
}
