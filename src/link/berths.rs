//! Which link of this process holds which device. The next one to open it waits for a closing one, and is told about an open one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Link;
use crate::clock::Stamp;

/// Who holds a device.
#[derive(Clone)]
pub struct Holder {
    /// The link, if anything still refers to it.
    pub link: Weak<Link>,
    /// Its name.
    pub name: Arc<str>,
    /// Where it was set up.
    pub place: String,
    /// When.
    pub since: Stamp,
}

/// See the module; cheap to clone.
#[derive(Clone, Default)]
pub struct Berths(Arc<Mutex<HashMap<u64, Holder>>>);

impl Berths {
    fn held(&self) -> MutexGuard<'_, HashMap<u64, Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `device`, until the guard is dropped; or says who has it.
    pub fn take(&self, device: u64, holder: Holder) -> Result<Berth, Holder> {
        let mut held = self.held();
        match held.get(&device) {
            Some(other) => Err(other.clone()),
            None => {
                held.insert(device, holder);
                Ok(Berth { berths: self.clone(), device })
            }
        }
    }
}

/// A device that is taken.
pub struct Berth {
    berths: Berths,
    device: u64,
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.berths.held().remove(&self.device);
    }
}
