//! `sim://NAME` of an instrument that a test made in memory: the names, and the way from a link to it.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{OpenError, OpenKind};
use crate::link::opener::{Attempt, Later, Opener};
use crate::simulate::MemoryDoor;
use crate::transport::Opened;

static DOORS: LazyLock<Mutex<BTreeMap<String, MemoryDoor>>> = LazyLock::new(Mutex::default);

fn doors() -> MutexGuard<'static, BTreeMap<String, MemoryDoor>> {
    DOORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A door with a name on it; taken down when this is dropped.
pub struct Door(String);

/// Puts the name on a door.
///
/// *Errors*: it is on another one, in words.
pub fn put_up(name: &str, door: MemoryDoor) -> Result<Door, String> {
    let mut doors = doors();
    if doors.contains_key(name) {
        return Err(format!(
            "there is a simulated instrument {name:?} in memory already: stop it, or use another name"
        ));
    }
    doors.insert(name.to_owned(), door);
    Ok(Door(name.to_owned()))
}

impl Drop for Door {
    fn drop(&mut self) {
        doors().remove(&self.0);
    }
}

/// The way to the door of that name, if there is one now.
pub struct DoorPort(String);

impl DoorPort {
    /// See the type.
    pub fn named(name: &str) -> Option<DoorPort> {
        doors().contains_key(name).then(|| DoorPort(name.to_owned()))
    }
}

impl Opener for DoorPort {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok((format!("sim://{}", self.0), None))))
    }

    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        let door = doors().get(&self.0).cloned();
        let opened = match door.map(|door| door.knock(attempt.place.clock())) {
            Some(Some(pipe)) => Ok(Opened { pipe, port: port.to_owned(), device: None, notices: Vec::new() }),
            Some(None) => Err(OpenError::new(OpenKind::Refused, "the simulated instrument is unplugged".to_owned())),
            None => {
                let why = format!("there is no simulated instrument {:?} in memory any more", self.0);
                Err(OpenError::new(OpenKind::Missing, why))
            }
        };
        Box::pin(ready(opened))
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}
