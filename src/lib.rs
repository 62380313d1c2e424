//! The map of the crate; no code lives here. Arrows point down only, and `tests/tidy.rs` keeps them so:
//!
//! ```text
//! bridge                                the only place that says pyo3
//!   lifecycle                           the one runtime thread and its hidden root nursery
//!     link | simulate                   who owns a wire | instruments that are not there
//!       framing | transport             bytes <-> messages | byte pipes
//!       nursery | sync                  who is alive | locks, slots, events, channels
//!         clock                         the only one
//!           error  descriptor           layer 0
//! ```

#[cfg(feature = "python")]
mod bridge;
pub mod clock;
pub mod descriptor;
pub mod error;
pub mod framing;
pub mod lifecycle;
pub mod link;
pub mod nursery;
pub mod simulate;
pub mod sync;
pub mod transport;
