//! Places that are taken one at a time: a lock has one, a semaphore several, slots have names. The state is in the board's book.
//!
//! *Cancel safety*: a [`Wait`] that is cancelled or dropped has taken nothing; a [`Hold`] that is dropped is let go of.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::board::{Block, Board, Held, Kind, Left, Resource, Taken, Want};
use super::{Owner, Trouble};
use crate::clock::Moment;

/// A lock, a semaphore, a set of slots, or the turn on a link.
#[derive(Debug)]
pub struct Places {
    board: Board,
    id: u64,
    kind: Kind,
    name: Arc<str>,
    names: Vec<Arc<str>>,
}

/// How things stand.
#[derive(Clone, Debug)]
pub struct View {
    /// Who holds, the longest first.
    pub holders: Vec<Held>,
    /// Who waits, in order: whom, for what, since when.
    pub waiters: Vec<(Owner, Want, Moment)>,
    /// How many places there are.
    pub size: u32,
}

impl Places {
    fn with(board: &Board, kind: Kind, name: &str, size: u32, names: Vec<Arc<str>>) -> Arc<Places> {
        let name: Arc<str> = Arc::from(name);
        let id = board.book().add(Resource {
            kind,
            name: name.clone(),
            size,
            unused: 0,
            returned: Default::default(),
            holds: Default::default(),
            queue: Default::default(),
            given: Default::default(),
            orphans: Default::default(),
        });
        Arc::new(Places { board: board.clone(), id, kind, name, names })
    }

    /// One place, which its holder may take again.
    pub fn lock(board: &Board, name: &str) -> Arc<Places> {
        Places::with(board, Kind::Lock, name, 1, Vec::new())
    }

    /// `size` places.
    pub fn semaphore(board: &Board, name: &str, size: u32) -> Arc<Places> {
        Places::with(board, Kind::Semaphore, name, size, Vec::new())
    }

    /// A place for each name.
    pub fn slots(board: &Board, name: &str, names: Vec<Arc<str>>) -> Arc<Places> {
        let size = u32::try_from(names.len()).unwrap_or(u32::MAX);
        Places::with(board, Kind::Slots, name, size, names)
    }

    /// The turn on a link, which is given out elsewhere: see [`Places::mark`] and [`Places::wait_elsewhere`].
    pub fn turn(board: &Board, name: &str) -> Arc<Places> {
        Places::with(board, Kind::Turn, name, 1, Vec::new())
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is, in words: "lock deck".
    pub fn what(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }

    /// The name of a place.
    pub fn place(&self, place: u32) -> Option<&Arc<str>> {
        self.names.get(usize::try_from(place).ok()?)
    }

    /// The place of a name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.names.iter().position(|known| &**known == name).and_then(|at| u32::try_from(at).ok())
    }

    /// Takes a place for `block` of `owner`, now or when its turn comes.
    ///
    /// *Errors*: it would wait for itself, however indirectly.
    pub fn take(self: &Arc<Places>, owner: Owner, want: Want, block: Block) -> Result<Wait, Trouble> {
        let taken = self.board.book().take(self.id, owner, want, block)?;
        Ok(match taken {
            Taken::Now(id, place) => self.wait_of(None, Some(Hold { places: self.clone(), id, place, block })),
            Taken::Later(wait) => self.wait_of(Some(wait), None),
        })
    }

    /// Takes a place only if that needs no wait.
    pub fn take_now(self: &Arc<Places>, owner: Owner, want: Want, block: Block) -> Option<Hold> {
        let mut book = self.board.book();
        let free = book.resources.get(&self.id).is_some_and(|resource| {
            resource.free(want).is_some()
                || resource.kind == Kind::Lock && resource.holds.values().any(|held| held.owner == owner)
        });
        match free.then(|| book.take(self.id, owner, want, block)) {
            Some(Ok(Taken::Now(id, place))) => Some(Hold { places: self.clone(), id, place, block }),
            _ => None,
        }
    }

    fn wait_of(self: &Arc<Places>, id: Option<u64>, ready: Option<Hold>) -> Wait {
        Wait { places: self.clone(), id, ready, begun: None }
    }

    /// `block` is left, by `owner`: what it took is over. Found by the block, for it may be torn down by somebody else, and long after its
    /// owner has ended and everything was let go of. A block that is not known (its frame was another when it was entered) is one of
    /// `owner`'s.
    ///
    /// *Errors*: nothing was taken by either.
    pub fn leave(&self, owner: Owner, block: Block) -> Result<(), Trouble> {
        let waker = {
            let mut book = self.board.book();
            let Some(resource) = book.resources.get_mut(&self.id) else { return Ok(()) };
            match resource.left_by(owner, block) {
                Some(Left::Hold(hold, block)) => book.release(self.id, hold, Some(block)),
                Some(Left::Orphan) => None,
                None => return Err(Trouble::NotHeld { what: self.what() }),
            }
        };
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Who holds and who waits.
    pub fn view(&self) -> View {
        let book = self.board.book();
        let Some(resource) = book.resources.get(&self.id) else {
            return View { holders: Vec::new(), waiters: Vec::new(), size: 0 };
        };
        let waiting = resource.queue.iter().filter(|(wait, _)| !resource.given.contains_key(wait));
        View {
            holders: resource.holds.values().cloned().collect(),
            waiters: waiting.map(|(_, waiting)| (waiting.owner, waiting.want, waiting.since)).collect(),
            size: resource.size,
        }
    }

    /// Whether anybody holds any of it.
    pub fn is_held(&self) -> bool {
        self.board.book().resources.get(&self.id).is_some_and(|resource| !resource.holds.is_empty())
    }

    /// Writes down that `owner` has what is given out elsewhere.
    pub fn mark(self: &Arc<Places>, owner: Owner) -> Hold {
        let id = self.board.book().give(self.id, owner, 0, 0);
        Hold { places: self.clone(), id, place: 0, block: 0 }
    }

    /// Writes down that `owner` waits for what is given out elsewhere, until the value is dropped.
    ///
    /// *Errors*: it would wait for itself, however indirectly.
    pub fn wait_elsewhere(self: &Arc<Places>, owner: Owner) -> Result<Wait, Trouble> {
        let wait = self.board.book().wait(self.id, owner, Want::Any, 0)?;
        Ok(self.wait_of(Some(wait), None))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.board.book().resources.remove(&self.id);
    }
}

/// A place that was taken; let go of when it is dropped.
#[derive(Debug)]
pub struct Hold {
    places: Arc<Places>,
    id: u64,
    place: u32,
    block: Block,
}

impl Hold {
    /// Which place.
    pub fn place(&self) -> u32 {
        self.place
    }

    /// Its name.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.places.place(self.place)
    }

    /// Left to [`Places::leave`] or to the end of its owner.
    pub fn keep(mut self) {
        self.id = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // An owner that has ended has let go of it already: then there is nothing under this number.
        let waker = self.places.board.book().release(self.places.id, self.id, Some(self.block));
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A place in a queue.
#[derive(Debug)]
pub struct Wait {
    places: Arc<Places>,
    /// Its number in the queue.
    id: Option<u64>,
    /// What needed no wait.
    ready: Option<Hold>,
    /// When it was found that one had to wait.
    begun: Option<Moment>,
}

/// What a wait came to: the hold, and since when it had been waited for, if at all.
pub type Got = (Hold, Option<Moment>);

impl Wait {
    /// Claims the place, or leaves `cx`'s waker to be woken. Not polled again after it was ready.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Got, Trouble>> {
        if let Some(hold) = self.ready.take() {
            return Poll::Ready(Ok((hold, None)));
        }
        let Some(id) = self.id else { return Poll::Ready(Err(Trouble::Cancelled)) };
        let mut book = self.places.board.book();
        let Some(resource) = book.resources.get_mut(&self.places.id) else {
            return Poll::Ready(Err(Trouble::Cancelled));
        };
        let Some(waiting) = resource.queue.get_mut(&id) else {
            // Its owner has ended: it left the queue for it.
            self.id = None;
            return Poll::Ready(Err(Trouble::Cancelled));
        };
        let (since, block) = (waiting.since, waiting.block);
        let Some(&hold) = resource.given.get(&id) else {
            if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                waiting.waker = Some(cx.waker().clone());
            }
            self.begun = Some(since);
            return Poll::Pending;
        };
        let place = resource.holds.get(&hold).map_or(0, |held| held.place);
        book.claim(self.places.id, id);
        drop(book);
        self.id = None;
        Poll::Ready(Ok((Hold { places: self.places.clone(), id: hold, place, block }, Some(since))))
    }

    /// Gives the place in the queue up, and what it had been given.
    pub fn cancel(&mut self) {
        drop(self.ready.take());
        if let Some(id) = self.id.take() {
            let waker = self.places.board.book().leave_queue(self.places.id, id);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.cancel();
    }
}
