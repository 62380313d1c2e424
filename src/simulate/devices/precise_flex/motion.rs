//! Where the arm is on its way from one pose to another.

use std::time::Duration;

use super::codes::{INVALID_ARGUMENT, MISSING_ARGUMENT, Refusal};

/// Base, shoulder, elbow, wrist, gripper.
pub(super) type Pose = [f64; 5];

/// As in the dialogue of PyLabRobot's tests.
pub(super) const HOME: Pose = [113.0, 81.0, 218.0, 64.0, 70.0];

/// From one pose to another, all joints at once and evenly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    pub(super) from: Pose,
    pub(super) to: Pose,
    pub(super) begins: Duration,
    pub(super) ends: Duration,
}

impl Motion {
    pub(super) fn at(&self, now: Duration) -> Pose {
        let whole = (self.ends - self.begins).as_secs_f64();
        let part = now.saturating_sub(self.begins).as_secs_f64() / whole;
        let mut pose = self.from;
        for (joint, to) in pose.iter_mut().zip(&self.to) {
            *joint += (to - *joint) * part.min(1.0);
        }
        pose
    }
}

/// How far the joint moves that moves the most.
pub(super) fn farthest(from: &Pose, to: &Pose) -> f64 {
    from.iter().zip(to).map(|(from, to)| (from - to).abs()).fold(0.0, f64::max)
}

/// Five joints, each a number of degrees or millimetres.
pub(super) fn pose(joints: &[f64]) -> Result<Pose, Refusal> {
    if joints.iter().any(|joint| !joint.is_finite() || joint.abs() > 1e5) {
        return Err(INVALID_ARGUMENT);
    }
    let missing = if joints.len() < 5 { MISSING_ARGUMENT } else { INVALID_ARGUMENT };
    joints.try_into().map_err(|_| missing)
}

/// With at most three digits behind the point, as in `113 81.5 218 64 70`.
pub(super) fn joints(pose: &Pose) -> String {
    let shown: Vec<String> = pose.iter().map(|joint| ((joint * 1000.0).round() / 1000.0).to_string()).collect();
    shown.join(" ")
}
