//! The one book of who holds what and who waits for what, in this process. One mutex for all of it: a deadlock is a fact about several
//! locks at once. It is held for a few steps at a time, never across a wait.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;

use super::lock::{Mutex, MutexGuard};
use super::{Owner, Trouble, deadlock};
use crate::clock::{Clock, Moment};

/// Something else that has to know when an owner has ended.
pub trait Tied: Send + Sync {
    /// `owner` is no more.
    fn owner_ended(&self, owner: Owner);
}

/// What may be taken: how it is called, and by which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One place, which its holder may take again.
    Lock,
    /// So many places without names.
    Semaphore,
    /// Places with names.
    Slots,
    /// The turn on a link. The link gives it out; here it is only written down.
    Turn,
}

impl Kind {
    /// In words.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Lock => "lock",
            Kind::Semaphore => "semaphore",
            Kind::Slots => "slots",
            Kind::Turn => "a turn on",
        }
    }

    /// Whether who waits for one can only go on when a holder lets go. A semaphore is no one's in particular: it is left out.
    pub(super) const fn binds(self) -> bool {
        !matches!(self, Kind::Semaphore)
    }
}

/// Which `with` block took something: a number that is its own for as long as it lasts.
pub type Block = u64;

/// Which place is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Whichever is free first.
    Any,
    /// This one.
    This(u32),
}

/// One who holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// Who.
    pub owner: Owner,
    /// Which place.
    pub place: u32,
    /// Since when.
    pub since: Moment,
    /// The blocks in which its holder took it, the outermost first; more than one only for a lock.
    pub blocks: Vec<Block>,
}

impl Held {
    fn latest(&self) -> Block {
        self.blocks.last().copied().unwrap_or_default()
    }
}

/// What a block that is left had taken.
pub(super) enum Left {
    /// This, in that block.
    Hold(u64, Block),
    /// Something that was let go of long ago.
    Orphan,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) owner: Owner,
    pub(super) want: Want,
    pub(super) block: Block,
    pub(super) since: Moment,
    pub(super) waker: Option<Waker>,
}

/// One lock, semaphore, set of slots or turn.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) size: u32,
    /// The first place that was never taken; those before it are held or in `returned`.
    pub(super) unused: u32,
    pub(super) returned: BTreeSet<u32>,
    pub(super) holds: BTreeMap<u64, Held>,
    pub(super) queue: BTreeMap<u64, Waiting>,
    /// Given to one who has not looked yet: from the number of the wait to that of the hold.
    pub(super) given: HashMap<u64, u64>,
    /// Blocks that were let go of because their holder had ended; they may still be left, much later.
    pub(super) orphans: VecDeque<Block>,
}

impl Resource {
    pub(super) fn free(&self, want: Want) -> Option<u32> {
        match want {
            Want::Any => self.returned.first().copied().or((self.unused < self.size).then_some(self.unused)),
            Want::This(place) => {
                (self.returned.contains(&place) || (self.unused..self.size).contains(&place)).then_some(place)
            }
        }
    }

    fn occupy(&mut self, place: u32) {
        if !self.returned.remove(&place) {
            self.returned.extend(self.unused..place);
            self.unused = place + 1;
        }
    }

    /// What is over when `block` is left by `owner`.
    pub(super) fn left_by(&mut self, owner: Owner, block: Block) -> Option<Left> {
        let found = |test: &dyn Fn(&Held) -> bool| {
            // What was given and not claimed has no block yet that could be left.
            let claimed = |hold: u64| !self.given.values().any(|given| *given == hold);
            let held = self.holds.iter().rev().find(|(hold, held)| test(held) && claimed(**hold));
            held.map(|(hold, held)| Left::Hold(*hold, if held.blocks.contains(&block) { block } else { held.latest() }))
        };
        let by_block = found(&|held| held.owner == owner && held.blocks.contains(&block))
            .or_else(|| found(&|held| held.blocks.contains(&block)));
        if by_block.is_some() {
            return by_block;
        }
        let by_owner = found(&|held| held.owner == owner);
        if let Some(at) = self.orphans.iter().position(|orphan| *orphan == block) {
            self.orphans.remove(at);
            return Some(Left::Orphan);
        }
        // One that was entered by another frame, as exit stacks do.
        by_owner.or_else(|| self.orphans.pop_front().map(|_| Left::Orphan))
    }

    /// Who stands in the way of `want`.
    pub(super) fn in_the_way(&self, want: Want) -> impl Iterator<Item = Owner> + '_ {
        let wanted = move |held: &&Held| want == Want::Any || want == Want::This(held.place);
        self.holds.values().filter(wanted).map(|held| held.owner)
    }
}

#[derive(Debug, Default)]
struct Entry {
    holds: Vec<(u64, u64)>,
    waits: Vec<(u64, u64)>,
    ties: Vec<Weak<dyn Tied>>,
}

impl std::fmt::Debug for dyn Tied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tied")
    }
}

/// What the mutex protects.
#[derive(Debug)]
pub(super) struct Book {
    clock: Clock,
    next: u64,
    pub(super) resources: HashMap<u64, Resource>,
    owners: HashMap<Owner, Entry>,
}

/// See the module; cheap to clone.
#[derive(Clone, Debug)]
pub struct Board(Arc<Mutex<Book>>);

impl Board {
    /// An empty one.
    pub fn new(clock: &Clock) -> Board {
        let book = Book { clock: clock.clone(), next: 1, resources: HashMap::new(), owners: HashMap::new() };
        Board(Arc::new(Mutex::new(book)))
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `tied` when `owner` ends.
    pub fn tie(&self, owner: Owner, tied: Weak<dyn Tied>) {
        let mut book = self.book();
        let ties = &mut book.owners.entry(owner).or_default().ties;
        ties.retain(|known| known.strong_count() > 0);
        ties.push(tied);
    }

    /// `owner` has ended: everything it held goes on to the next, and it waits for nothing any more.
    pub fn let_go(&self, owner: Owner) {
        let mut wakers = Vec::new();
        let ties = {
            let mut book = self.book();
            let Some(entry) = book.owners.remove(&owner) else { return };
            for (resource, wait) in entry.waits {
                wakers.extend(book.leave_queue(resource, wait));
            }
            for (resource, hold) in entry.holds {
                if let Some(resource) = book.resources.get_mut(&resource)
                    && let Some(held) = resource.holds.get(&hold)
                {
                    resource.orphans.extend(&held.blocks);
                    // Most are never left at all: their frames have gone with their loop.
                    let many = resource.orphans.len().saturating_sub(ORPHANS);
                    resource.orphans.drain(..many);
                }
                wakers.extend(book.release(resource, hold, None));
            }
            entry.ties
        };
        wakers.into_iter().for_each(Waker::wake);
        for tied in ties.iter().filter_map(Weak::upgrade) {
            tied.owner_ended(owner);
        }
    }

    /// How many holds and waits there are, in all: nothing may be left where nobody is.
    pub fn count(&self) -> (usize, usize) {
        let book = self.book();
        let holds = book.resources.values().map(|resource| resource.holds.len()).sum();
        (holds, book.resources.values().map(|resource| resource.queue.len()).sum())
    }
}

/// How many blocks without a holder are remembered.
const ORPHANS: usize = 64;

/// How an attempt to take a place went.
pub(super) enum Taken {
    Now(u64, u32),
    Later(u64),
}

impl Book {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn add(&mut self, resource: Resource) -> u64 {
        let id = self.number();
        self.resources.insert(id, resource);
        id
    }

    /// Takes a place, or a place in the queue.
    pub(super) fn take(&mut self, id: u64, owner: Owner, want: Want, block: Block) -> Result<Taken, Trouble> {
        let Some(resource) = self.resources.get_mut(&id) else { return Err(Trouble::Cancelled) };
        if resource.kind == Kind::Lock
            && let Some((&hold, held)) = resource.holds.iter_mut().find(|(_, held)| held.owner == owner)
        {
            held.blocks.push(block);
            return Ok(Taken::Now(hold, held.place));
        }
        if let Some(place) = resource.free(want) {
            return Ok(Taken::Now(self.give(id, owner, place, block), place));
        }
        let wait = self.wait(id, owner, want, block)?;
        Ok(Taken::Later(wait))
    }

    /// A place in the queue. Refused where it would never be served.
    pub(super) fn wait(&mut self, id: u64, owner: Owner, want: Want, block: Block) -> Result<u64, Trouble> {
        let now = self.now();
        let wait = self.number();
        let waiting = Waiting { owner, want, block, since: now, waker: None };
        if let Some(resource) = self.resources.get_mut(&id) {
            resource.queue.insert(wait, waiting);
        }
        self.owners.entry(owner).or_default().waits.push((id, wait));
        match deadlock::of(self, id, owner, want) {
            Some(cycle) => {
                self.leave_queue(id, wait);
                Err(Trouble::Deadlock(cycle))
            }
            None => Ok(wait),
        }
    }

    /// What `owner` waits for, as far as only a holder can end it.
    pub(super) fn waits_of(&self, owner: Owner) -> impl Iterator<Item = (u64, Want)> + '_ {
        let waits = self.owners.get(&owner).map(|entry| entry.waits.as_slice()).unwrap_or_default();
        waits.iter().filter_map(|(id, wait)| {
            let resource = self.resources.get(id)?;
            let want = resource.queue.get(wait)?.want;
            // One that was given its place waits for nothing but its turn on a loop; and a turn may be had with nobody in the way.
            let stands = resource.kind.binds() && !resource.given.contains_key(wait);
            (stands && resource.in_the_way(want).next().is_some()).then_some((*id, want))
        })
    }

    /// Writes down that `owner` has `place`.
    pub(super) fn give(&mut self, id: u64, owner: Owner, place: u32, block: Block) -> u64 {
        let hold = self.number();
        let since = self.now();
        if let Some(resource) = self.resources.get_mut(&id) {
            if resource.kind != Kind::Turn {
                resource.occupy(place);
            }
            resource.holds.insert(hold, Held { owner, place, since, blocks: vec![block] });
        }
        self.owners.entry(owner).or_default().holds.push((id, hold));
        hold
    }

    /// One block of a hold is over, or (`None`) all of it; whoever waits next is given its place. Who to wake.
    pub(super) fn release(&mut self, id: u64, hold: u64, block: Option<Block>) -> Option<Waker> {
        let resource = self.resources.get_mut(&id)?;
        let held = resource.holds.get_mut(&hold)?;
        if let Some(block) = block {
            let at = held.blocks.iter().rposition(|known| *known == block)?;
            held.blocks.remove(at);
            if !held.blocks.is_empty() {
                return None;
            }
        }
        let held = resource.holds.remove(&hold)?;
        if resource.kind != Kind::Turn {
            resource.returned.insert(held.place);
        }
        self.forget(held.owner, |entry| entry.holds.retain(|known| *known != (id, hold)));
        self.serve(id, held.place)
    }

    /// Gives `place` to the first who waits for it.
    fn serve(&mut self, id: u64, place: u32) -> Option<Waker> {
        let resource = self.resources.get_mut(&id)?;
        if resource.kind == Kind::Turn {
            return None;
        }
        let wants = |waiting: &Waiting| waiting.want == Want::Any || waiting.want == Want::This(place);
        let waiting = |(wait, _): &(&u64, &mut Waiting)| !resource.given.contains_key(*wait);
        let (wait, owner, block, waker) = resource
            .queue
            .iter_mut()
            .filter(waiting)
            .find(|(_, waiting)| wants(waiting))
            .map(|(wait, waiting)| (*wait, waiting.owner, waiting.block, waiting.waker.take()))?;
        let hold = self.give(id, owner, place, block);
        if let Some(resource) = self.resources.get_mut(&id) {
            resource.given.insert(wait, hold);
        }
        waker
    }

    /// Ends a wait: claimed, or given up. What it had been given and not claimed goes on. Who to wake.
    pub(super) fn leave_queue(&mut self, id: u64, wait: u64) -> Option<Waker> {
        let block = self.resources.get(&id)?.queue.get(&wait).map(|waiting| waiting.block);
        let given = self.claim(id, wait);
        // That block alone: its owner may have taken the same lock again meanwhile.
        given.and_then(|hold| self.release(id, hold, block))
    }

    /// Ends a wait that was given its place: the number of the hold.
    pub(super) fn claim(&mut self, id: u64, wait: u64) -> Option<u64> {
        let resource = self.resources.get_mut(&id)?;
        let given = resource.given.remove(&wait);
        if let Some(waiting) = resource.queue.remove(&wait) {
            self.forget(waiting.owner, |entry| entry.waits.retain(|known| *known != (id, wait)));
        }
        given
    }

    fn forget(&mut self, owner: Owner, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.owners.get_mut(&owner) {
            change(entry);
            if entry.holds.is_empty() && entry.waits.is_empty() && entry.ties.is_empty() {
                self.owners.remove(&owner);
            }
        }
    }
}
