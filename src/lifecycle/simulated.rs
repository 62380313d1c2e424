//! `sim://`: a simulated instrument in this process, at the other end of an in-memory pipe.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use crate::error::{OpenError, OpenKind};
use crate::link::opener::{Attempt, Later, Opener};
use crate::simulate::devices::{Device, device};
use crate::simulate::serve;
use crate::transport::memory::memory_pipe;
use crate::transport::{Opened, Transport};

/// What the pipe holds: as much as a small instrument's buffers.
const PIPE: usize = 4096;

/// See the module.
pub struct SimulatedPort {
    name: String,
    options: BTreeMap<String, String>,
}

impl SimulatedPort {
    /// The instrument of that name, as `options` want it. A new one whenever it is opened.
    ///
    /// *Errors*: there is none, or not such a one, in words.
    pub fn named(name: &str, options: BTreeMap<String, String>) -> Result<SimulatedPort, String> {
        device(name, &options)?;
        Ok(SimulatedPort { name: name.to_owned(), options })
    }

    fn serve(&self, Device { instrument, .. }: Device, attempt: &Attempt) -> Result<Box<dyn Transport>, String> {
        let place = &attempt.place;
        let (ours, theirs) = memory_pipe(place.clock(), PIPE);
        let (_unplugged_with_the_pipe, service) = serve(instrument, Box::new(theirs), place.clock().clone());
        let serving = async {
            service.await;
            Ok(())
        };
        let spawned = place.nursery.spawn(&format!("simulated {}", self.name), serving, None);
        spawned.map(|()| -> Box<dyn Transport> { Box::new(ours) }).map_err(|ended| ended.to_string())
    }
}

impl Opener for SimulatedPort {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok((format!("sim://{}", self.name), None))))
    }

    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        let opened = match device(&self.name, &self.options).and_then(|device| self.serve(device, attempt)) {
            Ok(pipe) => Ok(Opened { pipe, port: port.to_owned(), device: None, notices: Vec::new() }),
            Err(refusal) => Err(OpenError::new(OpenKind::Refused, refusal)),
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
