//! Conversations that are played again, as Python hands them over. Converts, decides nothing.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bridge::values::span;
use crate::simulate::{Cue, Player};

/// See `simulate/player.rs`.
#[pyclass(frozen, name = "Player", module = "labtether._core")]
pub(in crate::bridge) struct PyPlayer(pub(super) Player);

/// Bytes heard as expected; the cue it has come to, and how much of that was heard; what came instead; how often that was so before.
type ProgressRow<'py> = (u64, usize, usize, Option<Bound<'py, PyBytes>>, u64);

#[pymethods]
impl PyPlayer {
    /// One that plays these: what the host sends (None), and what is said so many seconds after what happened before.
    #[new]
    #[pyo3(signature = (cues, again, sees_hosts))]
    fn new(cues: Vec<(Option<f64>, Vec<u8>)>, again: bool, sees_hosts: bool) -> PyResult<PyPlayer> {
        let cue = |(after, bytes): (Option<f64>, Vec<u8>)| {
            let bytes = Bytes::from(bytes);
            Ok(match after {
                Some(after) => Cue::Says { after: span(after)?, bytes },
                None => Cue::Hears(bytes),
            })
        };
        let cues = cues.into_iter().map(cue).collect::<PyResult<Vec<Cue>>>()?;
        Ok(PyPlayer(Player::new(cues, again, sees_hosts)))
    }

    /// How far it has come.
    fn progress<'py>(&self, py: Python<'py>) -> ProgressRow<'py> {
        let progress = self.0.progress();
        let stray = progress.stray.map(|stray| PyBytes::new(py, &stray));
        (progress.heard, progress.cue, progress.within, stray, progress.followed)
    }
}
