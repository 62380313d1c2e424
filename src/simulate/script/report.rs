//! How a script went: what was heard and what became of it, what never came, what its author's own code raised. Data; the words are
//! found in Python.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Node, Step, StepId};
use crate::framing::oracle::Fault;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This step took it.
    Step(StepId),
    /// The instrument was busy.
    Busy,
    /// Nobody expected it, which was allowed.
    Otherwise,
    /// Nobody expected it.
    Unexpected {
        /// What would have been taken.
        awaited: Vec<StepId>,
    },
}

/// A command, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Without its terminator.
    pub command: Bytes,
    /// What became of it.
    pub verdict: Verdict,
}

/// What the author's own code raised when it was asked for a reply.
#[derive(Clone, Debug)]
pub struct Raised {
    /// To this command.
    pub command: Bytes,
    /// What it raised.
    pub why: Fault,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every step: the command as written, where, how often it has to come and may come, how often it has come.
    pub steps: Vec<Step>,
    /// The steps in their order; those of a block that has none are together.
    pub order: Vec<Vec<StepId>>,
    /// The steps that have no place in the order.
    pub rules: Vec<StepId>,
    /// The commands, oldest first.
    pub heard: Vec<Heard>,
    /// What the author's own code raised.
    pub raised: Vec<Raised>,
}

impl Report {
    pub(super) fn of(
        steps: &[Step],
        order: &[Node],
        rules: &[StepId],
        heard: &VecDeque<Heard>,
        raised: &[Raised],
    ) -> Report {
        let places = order.iter().filter_map(|node| match node {
            Node::One(id) => Some(vec![*id]),
            Node::AnyOrder(members) => Some(members.clone()),
            Node::Push(_) => None,
        });
        Report {
            steps: steps.to_vec(),
            order: places.collect(),
            rules: rules.to_vec(),
            heard: heard.iter().cloned().collect(),
            raised: raised.to_vec(),
        }
    }

    /// Whether all that had to come has come, and nothing else.
    pub fn is_clean(&self) -> bool {
        self.raised.is_empty()
            && self.steps.iter().all(Step::is_met)
            && !self.heard.iter().any(|heard| matches!(heard.verdict, Verdict::Unexpected { .. }))
    }
}
