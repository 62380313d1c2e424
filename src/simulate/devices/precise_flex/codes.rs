//! The controller's codes for what goes wrong, and their texts, as PyLabRobot's table has them.

/// A code and its text.
pub(super) type Refusal = (i32, &'static str);

pub(super) const INVALID_ARGUMENT: Refusal = (-202, "Invalid argument");
pub(super) const MISSING_ARGUMENT: Refusal = (-205, "Missing argument");
pub(super) const CANCELLED: Refusal = (-214, "Cancelled");
/// For an unknown command. Ours: the driver's table has no code of the command server's own for it.
pub(super) const INVALID_COMMAND: Refusal = (-321, "Invalid device command");
pub(super) const NOT_ATTACHED: Refusal = (-1009, "No robot attached");
pub(super) const NOT_IN_POSITION_MODE: Refusal = (-1017, "Not in position control mode");
pub(super) const NOT_HOMED: Refusal = (-1021, "Robot not homed");
pub(super) const POWER_TIMEOUT: Refusal = (-1025, "Timeout enabling power");
pub(super) const HARD_ESTOP: Refusal = (-1028, "Hard E-Stop");
pub(super) const NO_POWER: Refusal = (-1046, "Power not enabled");
