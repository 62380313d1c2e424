//! The model of `tests/places.rs`: what is done, who holds, who waits, in which order, and who can never go on.

use std::collections::HashSet;

use labtether::sync::board::{Block, Kind, Want};
use labtether::sync::{Owner, Step};

/// One step of a test: waits and holds are counted in the order in which they came.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Ask { who: usize, at: usize, want: Want, block: Block, now: bool },
    Poll(usize),
    Cancel { wait: usize, dropped: bool },
    DropHold(usize),
    Keep(usize),
    Leave { who: usize, at: usize, block: Block },
    End(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) hold: usize,
    pub(super) owner: Owner,
    pub(super) place: u32,
    pub(super) blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) wait: usize,
    pub(super) owner: Owner,
    pub(super) want: Want,
    pub(super) block: Block,
}

/// How it stands with one who asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stands {
    Queued,
    /// With this hold; whether it had to wait for it.
    Granted(usize, u32, bool),
    /// Its owner has ended.
    Void,
}

/// One lock, semaphore, set of slots or turn.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) size: u32,
    pub(super) held: Vec<Held>,
    pub(super) queue: Vec<Waits>,
    pub(super) orphans: Vec<Block>,
}

fn suits(want: Want, place: u32) -> bool {
    want == Want::Any || want == Want::This(place)
}

impl Shelf {
    pub(super) fn new(kind: Kind, name: &'static str, size: u32) -> Shelf {
        Shelf { kind, name, size, held: Vec::new(), queue: Vec::new(), orphans: Vec::new() }
    }

    pub(super) fn free(&self, want: Want) -> Option<u32> {
        (0..self.size)
            .filter(|&place| suits(want, place))
            .find(|&place| self.held.iter().all(|held| held.place != place))
    }

    pub(super) fn in_the_way(&self, want: Want) -> impl Iterator<Item = Owner> + '_ {
        self.held.iter().filter(move |held| suits(want, held.place)).map(|held| held.owner)
    }

    /// What is over when `owner` leaves `block`: its own block, that block of another, one that was let go of, any of its own, any that
    /// was let go of. `None`: nothing is, which is a mistake; `Some(None)`: it had been let go of.
    pub(super) fn left(&mut self, owner: Owner, block: Block) -> Option<Option<(usize, Block)>> {
        let has = |held: &&Held| held.blocks.contains(&block);
        let newest = || self.held.iter().rev();
        if let Some(held) = newest().filter(|held| held.owner == owner).find(has).or_else(|| newest().find(has)) {
            return Some(Some((held.hold, block)));
        }
        let own = newest().find(|held| held.owner == owner).map(|held| (held.hold, *held.blocks.last().unwrap()));
        let orphan = self.orphans.iter().position(|orphan| *orphan == block);
        if let Some(at) = orphan.or((own.is_none() && !self.orphans.is_empty()).then_some(0)) {
            self.orphans.remove(at);
            return Some(None);
        }
        own.map(Some)
    }

    /// One block of a hold is over, or all of it. Which wait is granted what.
    pub(super) fn release(&mut self, hold: usize, block: Option<Block>, next: usize) -> Option<(usize, usize)> {
        let at = self.held.iter().position(|held| held.hold == hold)?;
        if let Some(block) = block {
            let blocks = &mut self.held[at].blocks;
            blocks.remove(blocks.iter().rposition(|known| *known == block)?);
            if !blocks.is_empty() {
                return None;
            }
        }
        let place = self.held.remove(at).place;
        if self.kind == Kind::Turn {
            return None;
        }
        let first = self.queue.iter().position(|waits| suits(waits.want, place))?;
        let Waits { wait, owner, block, .. } = self.queue.remove(first);
        self.held.push(Held { hold: next, owner, place, blocks: vec![block] });
        Some((wait, next))
    }
}

/// Who can never go on: everybody but those who can, and those who wait for one of them.
pub(super) fn stuck(shelves: &[Shelf], asks: Option<(Owner, usize, Want)>) -> HashSet<Owner> {
    let queued =
        shelves.iter().enumerate().flat_map(|(at, shelf)| shelf.queue.iter().map(move |w| (w.owner, at, w.want)));
    let waits: Vec<_> = queued.chain(asks).filter(|(_, at, _)| shelves[*at].kind != Kind::Semaphore).collect();
    let mut stuck: HashSet<Owner> = waits.iter().map(|(owner, ..)| *owner).collect();
    loop {
        let freed = waits.iter().find(|(owner, at, want)| {
            let mut holders = shelves[*at].in_the_way(*want).peekable();
            stuck.contains(owner) && (holders.peek().is_none() || holders.any(|holder| !stuck.contains(&holder)))
        });
        match freed {
            Some((owner, ..)) => stuck.remove(owner),
            None => return stuck,
        };
    }
}

/// Each step waits for something that the next one holds, and the asker is the first.
pub(super) fn check_cycle(shelves: &[Shelf], cycle: &[Step], (owner, at, want): (Owner, usize, Want)) {
    assert_eq!(cycle[0].owner, owner);
    assert_eq!(cycle.iter().map(|step| step.owner).collect::<HashSet<_>>().len(), cycle.len());
    for (step, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        let mut wants = shelves.iter().flat_map(|shelf| shelf.queue.iter().map(move |w| (w.owner, shelf, w.want)));
        let asks = (owner, &shelves[at], want);
        let known = if step.owner == owner { Some(asks) } else { wants.find(|(who, ..)| *who == step.owner) };
        let (_, shelf, want) = known.unwrap_or_else(|| panic!("{step:?} waits for nothing"));
        assert_eq!(shelf.name, step.awaits);
        assert!(shelf.in_the_way(want).any(|holder| holder == next.owner), "{next:?} is not in the way of {step:?}");
    }
}
