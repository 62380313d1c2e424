//! One fault in force, in its place in the row.

use std::time::Duration;

use bytes::Bytes;

use super::Fault;
use super::damage::{again, broken_off, garbled, silent, struck};
use super::spoken::{Item, Spoken};
use super::timing::{coalesced, fragmented, late, paced};

/// What tells the dice of the kinds of faults apart.
pub(super) mod kind {
    pub(in super::super) const DELAY: u64 = 1;
    pub(in super::super) const JITTER: u64 = 2;
    pub(in super::super) const FRAGMENT: u64 = 3;
    pub(in super::super) const DROP: u64 = 4;
    pub(in super::super) const GARBLE: u64 = 5;
    pub(in super::super) const DUPLICATE: u64 = 6;
    pub(in super::super) const TRUNCATE: u64 = 7;
}

#[derive(Clone, Debug)]
pub(super) struct Stage {
    fault: Fault,
    /// When the last that it let pass comes: nothing comes before that any more.
    last: Duration,
    /// How many times it has done what it does only so many times.
    done: u64,
}

/// What is left of `items` behind all of `stages`.
pub(super) fn through(stages: &mut [Stage], items: Vec<Item>) -> Vec<Item> {
    stages.iter_mut().fold(items, |items, stage| items.into_iter().flat_map(|item| stage.pass(item)).collect())
}

impl Stage {
    pub(super) fn new(fault: Fault) -> Stage {
        Stage { fault, last: Duration::ZERO, done: 0 }
    }

    fn pass(&mut self, item: Item) -> Vec<Item> {
        let items = match item {
            Item::Spoken(spoken) => self.strike(spoken),
            away @ Item::Away { .. } => vec![away],
        };
        items.into_iter().map(|item| self.in_turn(item)).collect()
    }

    fn strike(&mut self, spoken: Spoken) -> Vec<Item> {
        let only = |spoken| vec![Item::Spoken(spoken)];
        if spoken.number().is_none() && !self.is_of_the_line() {
            return only(spoken);
        }
        match &self.fault {
            Fault::Delay { by, which } => match struck(&spoken, which, kind::DELAY) {
                Some(_) => only(spoken.later_by(*by)),
                None => only(spoken),
            },
            Fault::Jitter { most, seed } => only(late(spoken, *most, *seed)),
            Fault::Rate { baudrate, bits } => only(paced(spoken, self.last, *baudrate, *bits)),
            Fault::Fragment { sizes, gap } => only(fragmented(spoken, sizes, *gap)),
            Fault::Coalesce { within } => only(coalesced(spoken, self.last, *within)),
            Fault::Drop { which } => match struck(&spoken, which, kind::DROP) {
                Some(_) => Vec::new(),
                None => only(spoken),
            },
            Fault::Garble { flips, which } => match struck(&spoken, which, kind::GARBLE) {
                Some(dice) => only(garbled(spoken, *flips, dice)),
                None => only(spoken),
            },
            Fault::Duplicate { times, gap, which } => match struck(&spoken, which, kind::DUPLICATE) {
                Some(_) => again(spoken, *times, *gap),
                None => only(spoken),
            },
            Fault::Truncate { keep, which } => match struck(&spoken, which, kind::TRUNCATE) {
                Some(_) => only(spoken.beginning(*keep)),
                None => only(spoken),
            },
            Fault::Silence { after, messages } if silent(&spoken, *after, *messages) => Vec::new(),
            Fault::Disconnect { after, in_message, back } if self.done == 0 => {
                let items = broken_off(spoken, *after, *in_message, *back);
                self.done = u64::from(items.iter().any(|item| matches!(item, Item::Away { .. })));
                items
            }
            Fault::Silence { .. } | Fault::Disconnect { .. } | Fault::Echo | Fault::Refuse { .. } => only(spoken),
        }
    }

    /// Whether it is done to all bytes that come, not to messages.
    fn is_of_the_line(&self) -> bool {
        match self.fault {
            Fault::Delay { .. } | Fault::Jitter { .. } | Fault::Rate { .. } => true,
            Fault::Fragment { .. } | Fault::Coalesce { .. } => true,
            Fault::Drop { .. } | Fault::Garble { .. } | Fault::Duplicate { .. } | Fault::Truncate { .. } => false,
            Fault::Echo | Fault::Silence { .. } | Fault::Disconnect { .. } | Fault::Refuse { .. } => false,
        }
    }

    /// What it does of its own accord when `bytes` come from the host, for the `heard`-th time.
    pub(super) fn hear(&mut self, heard: u64, at: Duration, bytes: &[u8]) -> Option<Item> {
        let item = match &self.fault {
            Fault::Echo => Item::Spoken(Spoken::echo(heard, at, Bytes::copy_from_slice(bytes))),
            Fault::Disconnect { after: 0, in_message: None, back } if self.done == 0 => {
                self.done = 1;
                Item::Away { at, back: *back }
            }
            _ => return None,
        };
        Some(self.in_turn(item))
    }

    pub(super) fn refuses(&mut self) -> bool {
        match self.fault {
            Fault::Refuse { times } if self.done < times => {
                self.done += 1;
                true
            }
            _ => false,
        }
    }

    /// Not before what has passed already.
    fn in_turn(&mut self, item: Item) -> Item {
        let item = match item {
            Item::Spoken(spoken) => Item::Spoken(spoken.not_before(self.last)),
            Item::Away { at, back } => Item::Away { at: at.max(self.last), back },
        };
        match &item {
            Item::Spoken(spoken) => self.last = spoken.ends().unwrap_or(self.last),
            Item::Away { at, .. } => self.last = *at,
        }
        item
    }
}
