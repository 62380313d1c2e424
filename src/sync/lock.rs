//! What a mutex is here: the system's. `tests/interleavings.rs` compiles these files with shuttle's in its place, to try schedules.

pub(super) use std::sync::{Mutex, MutexGuard};
