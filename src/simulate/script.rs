//! A simulated instrument that follows a script: what it expects in order, what it knows at any time, and what it says to that. Pure: no
//! I/O, no clock. The script may grow while it is played. What a step accepts and says is in `script/step.rs`; how what goes wrong is
//! told, in `script/report.rs`.
//!
//! # Invariants
//! 1. A command is for the first step in the order that still takes it, and behind which nothing is left out that has to come; else for
//!    the first rule that takes it; else nobody expects it.
//! 2. A command that nobody expects is never forgotten, whatever is said to it.
//! 3. What is said to a command depends on the commands before it, and on nothing else.

mod played;
mod report;
mod step;

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

pub use played::Played;
pub use report::{Heard, Raised, Report, Verdict};
pub use step::{Accepts, Part, Step, Template, Words};

use super::{Deed, Say};
use crate::framing::Framing;
use step::{Doing, Groups};

/// The most commands that are remembered with what became of them; then the oldest go.
const REMEMBERED: usize = 10_000;

/// Which step.
pub type StepId = usize;

/// One place in the order.
#[derive(Clone, Debug)]
pub enum Node {
    /// This step.
    One(StepId),
    /// These, in any order.
    AnyOrder(Vec<StepId>),
    /// It says something of its own accord, after the step before.
    Push(Vec<Part>),
}

/// An instrument that is busy for a while.
#[derive(Clone, Debug)]
struct Busy {
    parts: Vec<Part>,
    /// So many commands more.
    times: Option<usize>,
    /// For so long, from when it is next told the time.
    lasts: Option<Duration>,
    until: Option<Duration>,
}

/// What is said to one command, while code of the user's own is asked for some of it.
struct Thinking {
    command: Bytes,
    groups: Groups,
    left: VecDeque<Part>,
    /// When it heard the command, and how long after that the next part comes.
    heard_at: Duration,
    after: Duration,
}

/// See the module.
pub struct Script {
    framing: Framing,
    steps: Vec<Step>,
    order: Vec<Node>,
    rules: Vec<StepId>,
    /// Where in the order it is.
    at: usize,
    /// How far pushes in the order have been said.
    pushed: usize,
    /// What templates read.
    state: BTreeMap<String, Bytes>,
    /// What it says as soon as it can.
    outbox: Vec<Say>,
    busy: Option<Busy>,
    otherwise: Option<(Vec<Part>, bool)>,
    greeting: Vec<Part>,
    heard: VecDeque<Heard>,
    raised: Vec<Raised>,
    thinking: Option<Thinking>,
    uptime: Duration,
}

impl Script {
    /// Nothing in it yet.
    pub fn new(framing: Framing) -> Script {
        Script {
            framing,
            steps: Vec::new(),
            order: Vec::new(),
            rules: Vec::new(),
            at: 0,
            pushed: 0,
            state: BTreeMap::new(),
            outbox: Vec::new(),
            busy: None,
            otherwise: None,
            greeting: Vec::new(),
            heard: VecDeque::new(),
            raised: Vec::new(),
            thinking: None,
            uptime: Duration::ZERO,
        }
    }

    // -- writing it ----------------------------------------------------------------------------------------------------

    /// One more step in the order; `among`: the place of a block in any order that it belongs to.
    pub fn expect(&mut self, step: Step, among: Option<usize>) -> StepId {
        let id = self.steps.len();
        self.steps.push(step);
        match among.and_then(|place| self.order.get_mut(place)) {
            Some(Node::AnyOrder(members)) => members.push(id),
            _ => self.order.push(Node::One(id)),
        }
        id
    }

    /// A block in any order, empty yet; its place.
    pub fn any_order(&mut self) -> usize {
        self.order.push(Node::AnyOrder(Vec::new()));
        self.order.len() - 1
    }

    /// What it knows at any time.
    pub fn when(&mut self, step: Step) -> StepId {
        let id = self.steps.len();
        self.steps.push(step);
        self.rules.push(id);
        id
    }

    /// A step, to be completed.
    pub fn step(&mut self, id: StepId) -> Option<&mut Step> {
        self.steps.get_mut(id)
    }

    /// It says `parts` after the step before; at once if there is none, or if that is done.
    pub fn push(&mut self, parts: Vec<Part>) {
        self.order.push(Node::Push(parts));
        if (self.at..self.order.len() - 1).all(|place| self.is_done(place)) {
            let pushed = self.pushes(self.order.len() - 1);
            let says = self.say_all(&Bytes::new(), Vec::new(), pushed.into());
            self.outbox.extend(says.into_iter().map(Say::unasked));
        }
    }

    /// It says `parts` as soon as it can.
    pub fn push_now(&mut self, parts: Vec<Part>) {
        let says = self.say_all(&Bytes::new(), Vec::new(), parts.into());
        self.outbox.extend(says.into_iter().map(Say::unasked));
    }

    /// It is busy and says `parts` to whatever it hears: so many times, or for so long from now.
    pub fn be_busy(&mut self, parts: Vec<Part>, times: Option<usize>, lasts: Option<Duration>) {
        self.busy = Some(Busy { parts, times, lasts, until: None });
    }

    /// What it says to what nobody expects, and whether that is all right.
    pub fn otherwise(&mut self, parts: Vec<Part>, allowed: bool) {
        self.otherwise = Some((parts, allowed));
    }

    /// What it says to a host that connects, and when it is switched on.
    pub fn greeting(&mut self, parts: Vec<Part>) {
        self.greeting = parts;
    }

    /// What templates read.
    pub fn state(&mut self) -> &mut BTreeMap<String, Bytes> {
        &mut self.state
    }

    // -- playing it ----------------------------------------------------------------------------------------------------

    fn takes(&self, id: StepId, command: &Bytes) -> Option<Groups> {
        self.steps.get(id).filter(|step| step.is_open()).and_then(|step| step.accepts.groups(command))
    }

    fn is_met(&self, id: StepId) -> bool {
        self.steps.get(id).is_none_or(Step::is_met)
    }

    /// Whether the order may go on behind `place`.
    fn is_done(&self, place: usize) -> bool {
        match self.order.get(place) {
            Some(Node::One(id)) => self.is_met(*id),
            Some(Node::AnyOrder(members)) => members.iter().all(|id| self.is_met(*id)),
            Some(Node::Push(_)) | None => true,
        }
    }

    /// The step that takes `command`, its place in the order, and the groups.
    fn find(&self, command: &Bytes) -> Option<(StepId, Option<usize>, Groups)> {
        for place in self.at..self.order.len() {
            let among: &[StepId] = match self.order.get(place) {
                Some(Node::One(id)) => std::slice::from_ref(id),
                Some(Node::AnyOrder(members)) => members,
                Some(Node::Push(_)) | None => &[],
            };
            for id in among {
                if let Some(groups) = self.takes(*id, command) {
                    return Some((*id, Some(place), groups));
                }
            }
            if !self.is_done(place) {
                break;
            }
        }
        self.rules.iter().find_map(|id| self.takes(*id, command).map(|groups| (*id, None, groups)))
    }

    /// What it would take now, in words.
    fn awaited(&self) -> Vec<StepId> {
        let mut awaited = Vec::new();
        for place in self.at..self.order.len() {
            let among: &[StepId] = match self.order.get(place) {
                Some(Node::One(id)) => std::slice::from_ref(id),
                Some(Node::AnyOrder(members)) => members,
                Some(Node::Push(_)) | None => &[],
            };
            awaited.extend(among.iter().filter(|id| self.steps.get(**id).is_some_and(Step::is_open)));
            if !self.is_done(place) {
                break;
            }
        }
        awaited
    }

    /// The pushes that come now that the order is done before `place`.
    fn pushes(&mut self, place: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        for behind in place.max(self.pushed)..self.order.len() {
            if let Some(Node::Push(pushed)) = self.order.get(behind) {
                parts.extend(pushed.iter().cloned());
                self.pushed = behind + 1;
            } else {
                break;
            }
        }
        parts
    }

    fn remember(&mut self, command: &Bytes, verdict: Verdict) {
        if self.heard.len() >= REMEMBERED {
            self.heard.pop_front();
        }
        self.heard.push_back(Heard { command: command.clone(), verdict });
    }

    fn busy_parts(&mut self) -> Option<Vec<Part>> {
        let busy = self.busy.as_mut()?;
        if busy.until.is_some_and(|until| until <= self.uptime) || busy.times == Some(0) {
            self.busy = None;
            return None;
        }
        if let Some(times) = &mut busy.times {
            *times -= 1;
        }
        Some(busy.parts.clone())
    }

    fn answer(&mut self, command: &Bytes) -> Vec<Say> {
        if let Some(parts) = self.busy_parts() {
            self.remember(command, Verdict::Busy);
            return self.say_all(command, Vec::new(), parts.into());
        }
        let Some((id, place, groups)) = self.find(command) else {
            let (parts, allowed) = self.otherwise.clone().unwrap_or_default();
            let verdict = if allowed { Verdict::Otherwise } else { Verdict::Unexpected { awaited: self.awaited() } };
            self.remember(command, verdict);
            return self.say_all(command, Vec::new(), parts.into());
        };
        self.remember(command, Verdict::Step(id));
        let Some(step) = self.steps.get_mut(id) else { return Vec::new() };
        step.count += 1;
        let mut parts = step.parts.clone();
        for (name, value) in step.sets.clone() {
            let value = value.fill(&groups, &self.state);
            self.state.insert(name, value);
        }
        if let Some(place) = place {
            self.at = place;
            if self.is_done(place) {
                parts.extend(self.pushes(place + 1));
            }
        }
        self.say_all(command, groups, parts.into())
    }

    /// What is known of what it says to `command`; the rest is thought about.
    fn say_all(&mut self, command: &Bytes, groups: Groups, parts: VecDeque<Part>) -> Vec<Say> {
        let (command, heard_at) = (command.clone(), self.uptime);
        self.think(Thinking { command, groups, left: parts, heard_at, after: Duration::ZERO })
    }

    fn think(&mut self, mut thinking: Thinking) -> Vec<Say> {
        let mut says = Vec::new();
        while let Some(part) = thinking.left.pop_front() {
            let body = match part.body(&thinking.command, &thinking.groups, &self.state, &self.framing) {
                Poll::Ready(body) => body,
                Poll::Pending => {
                    thinking.left.push_front(part);
                    self.thinking = Some(thinking);
                    return says;
                }
            };
            thinking.after += part.after;
            match body {
                Ok(doing) => {
                    // What took its time to think of comes no later for that.
                    let due = (thinking.heard_at + thinking.after).saturating_sub(self.uptime);
                    says.extend(part.says(self.uptime, due, doing));
                }
                Err(why) => self.raised.push(Raised { command: thinking.command.clone(), why }),
            }
        }
        says
    }

    /// Nothing is said any more: what would have been, for whoever may let go of it.
    pub fn close(&mut self) -> Vec<Part> {
        let mut said = std::mem::take(&mut self.greeting);
        said.extend(self.steps.iter_mut().flat_map(|step| std::mem::take(&mut step.parts)));
        said.extend(self.thinking.take().into_iter().flat_map(|thinking| thinking.left));
        said
    }

    /// What went wrong, and what has not happened yet.
    pub fn report(&self) -> Report {
        Report::of(&self.steps, &self.order, &self.rules, &self.heard, &self.raised)
    }
}

/// What a part does, in the end.
fn deed(doing: Doing) -> Deed {
    match doing {
        Doing::Says(bytes) => Deed::Bytes(bytes),
        Doing::Unplugs => Deed::Unplug,
        Doing::Plugs => Deed::Plug,
    }
}
