//! Whether a wait could ever end. Pure: looks at the book, changes nothing.

use std::collections::{HashMap, VecDeque};

use super::board::{Book, Want};
use super::{Owner, Step};

/// The cycle that `owner` closes by waiting for `want` of resource `id`; `None` as long as anybody in the way can still go on.
///
/// Who waits for any of several places goes on when one holder does, so a cycle alone is no deadlock: nobody reachable may be free.
pub(super) fn of(book: &Book, id: u64, owner: Owner, want: Want) -> Option<Vec<Step>> {
    if !book.resources.get(&id)?.kind.binds() {
        return None;
    }
    // Who is reached, from whom, through which resource.
    let mut reached: HashMap<Owner, (Owner, u64)> = HashMap::new();
    let mut next = VecDeque::from([(owner, id, want)]);
    while let Some((from, id, want)) = next.pop_front() {
        for holder in book.resources.get(&id)?.in_the_way(want) {
            if reached.contains_key(&holder) {
                continue;
            }
            reached.insert(holder, (from, id));
            if holder == owner {
                continue;
            }
            let before = next.len();
            next.extend(book.waits_of(holder).map(|(id, want)| (holder, id, want)));
            if next.len() == before {
                return None;
            }
        }
    }
    // Back from the one who asked, along who waits for whom.
    let mut steps = Vec::new();
    let mut at = owner;
    loop {
        let &(from, id) = reached.get(&at)?;
        let resource = book.resources.get(&id)?;
        steps.push(Step { owner: from, awaits: format!("{} {}", resource.kind.word(), resource.name) });
        at = from;
        if at == owner {
            break;
        }
    }
    steps.reverse();
    Some(steps)
}
