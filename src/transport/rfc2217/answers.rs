//! The answers that a server owes about one line that we set: DTR, RTS or the break. It may answer late, wrongly or not at all.

use std::collections::VecDeque;

/// A server that never answers is asked this often before the oldest is forgotten.
const MOST: usize = 8;

/// One line.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What was asked and not answered, oldest first.
    owed: VecDeque<bool>,
    said: Option<bool>,
}

impl Answers {
    pub(super) fn asked(&mut self, on: bool) {
        if self.owed.len() == MOST {
            self.owed.pop_front();
        }
        self.owed.push_back(on);
    }

    /// The server says how the line is; `None`: it says only that it has heard. That answers everything up to where just that was
    /// asked, or the oldest if it was not: the answers to questions that were given up come first.
    pub(super) fn came(&mut self, on: Option<bool>) {
        let place = on.and_then(|on| self.owed.iter().position(|&asked| asked == on)).unwrap_or(0);
        let answered = self.owed.get(place).copied();
        self.owed.drain(..self.owed.len().min(place + 1));
        self.said = on.or(answered).or(self.said);
    }

    pub(super) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// As the server said it last.
    pub(super) fn last(&self) -> Option<bool> {
        self.said
    }

    /// Why `asked` was not done, in words.
    pub(super) fn refusal(&self, line: &str, asked: Option<bool>) -> Option<String> {
        let word = |on| if on { "on" } else { "off" };
        match (asked, self.said) {
            (Some(asked), Some(said)) if asked != said => {
                Some(format!("{line}: asked for {}, the server says {}", word(asked), word(said)))
            }
            _ => None,
        }
    }
}
