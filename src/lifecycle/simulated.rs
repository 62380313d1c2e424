//! `sim://`: a simulated instrument in this process, at the other end of an in-memory pipe.

use std::future::ready;
use std::time::Duration;

use crate::error::{OpenError, OpenKind};
use crate::link::opener::{Attempt, Later, Opener};
use crate::simulate::{Balance, serve};
use crate::transport::Opened;
use crate::transport::memory::memory_pipe;

/// What the pipe holds: as much as a small instrument's buffers.
const PIPE: usize = 4096;

/// See the module.
pub struct SimulatedPort {
    name: String,
}

impl SimulatedPort {
    /// The instrument of that name.
    ///
    /// *Errors*: there is none, in words.
    pub fn named(name: &str) -> Result<SimulatedPort, String> {
        match name {
            "balance" => Ok(SimulatedPort { name: name.to_owned() }),
            _ => Err(format!("there is no simulated instrument {name:?}; there is 'balance'")),
        }
    }
}

impl Opener for SimulatedPort {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok((format!("sim://{}", self.name), None))))
    }

    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        let place = &attempt.place;
        let (ours, theirs) = memory_pipe(place.clock(), PIPE);
        let (_unplugged_with_the_pipe, service) = serve(Balance::new(), Box::new(theirs), place.clock().clone());
        let serving = async {
            service.await;
            Ok(())
        };
        let spawned = place.nursery.spawn(&format!("simulated {}", self.name), serving, None);
        let opened = match spawned {
            Ok(()) => Ok(Opened { pipe: Box::new(ours), port: port.to_owned(), device: None, notices: Vec::new() }),
            Err(ended) => Err(OpenError::new(OpenKind::Refused, ended.to_string())),
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
