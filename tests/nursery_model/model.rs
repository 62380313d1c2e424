//! The model of `tests/nursery_model.rs`: what nurseries and children are planned to do, and, told by a list of what is due when, how
//! each must end. Times are microseconds.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(super) enum End {
    Done,
    Fails,
    Panics,
    /// Starts another child and goes on for so long.
    Starts(Box<Life>, u64),
}

/// One child: it ends of its own accord `after` so long; or, if it listens to cancellation, a while after that.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) after: u64,
    pub(super) lingers: Option<u64>,
    pub(super) end: End,
}

/// One nursery; its parent comes before it in the list.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) parent: Option<usize>,
    pub(super) grace: u64,
    pub(super) deadline: Option<u64>,
    pub(super) together: bool,
    pub(super) closes: u64,
    /// When, with how much patience, with which grace.
    pub(super) cancels: Vec<(u64, u64, u64)>,
    pub(super) children: Vec<Life>,
}

/// How a nursery ended, when, and when its Python children would have been told to stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: String,
    pub(super) ended: u64,
    pub(super) enforced: Option<u64>,
}

/// What the model says of all of it.
#[derive(Default)]
pub(super) struct Forecast {
    pub(super) verdicts: Vec<Verdict>,
    /// How each child ended, and when.
    pub(super) ends: BTreeMap<String, (&'static str, u64)>,
    pub(super) started: BTreeSet<String>,
    /// Two things were due in the same moment, or a nursery outlasts the patience of the one around it: nothing is foretold then.
    pub(super) unclear: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Lives,
    Lingers,
    Leaves,
    Over,
}

struct Child {
    name: String,
    scope: usize,
    /// `None`: an inner nursery.
    life: Option<Life>,
    phase: Phase,
}

#[derive(Default)]
struct State {
    cancelled: Option<(String, u64)>,
    closing: bool,
    over: bool,
    failures: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    Child(usize, Phase),
    Close(usize),
    Cancel(usize, u64, u64),
    Deadline(usize),
    GraceOver(usize),
}

struct Model<'a> {
    plan: &'a [Scope],
    now: u64,
    planned: usize,
    due: BTreeMap<(u64, usize), Due>,
    children: Vec<Child>,
    states: Vec<State>,
    forecast: Forecast,
}

pub(super) fn foretell(plan: &[Scope]) -> Forecast {
    let states = plan.iter().map(|_| State::default()).collect();
    let forecast = Forecast { verdicts: vec![Verdict::default(); plan.len()], ..Forecast::default() };
    let mut model = Model { plan, now: 0, planned: 0, due: BTreeMap::new(), children: Vec::new(), states, forecast };
    for (at, scope) in plan.iter().enumerate() {
        if let Some(parent) = scope.parent {
            model.start(parent, format!("scope {at}"), None);
        }
        for (n, life) in scope.children.iter().enumerate() {
            model.start(at, format!("{at}.{n}"), Some(life.clone()));
        }
        scope.cancels.iter().for_each(|&(when, patience, grace)| model.plan(when, Due::Cancel(at, patience, grace)));
        scope.deadline.into_iter().for_each(|deadline| model.plan(deadline, Due::Deadline(at)));
        model.plan(scope.closes, Due::Close(at));
    }
    let mut last = None;
    while let Some(((now, _), due)) = model.due.pop_first() {
        model.now = now;
        model.happens(due);
        // Even one that changes nothing now might have, had it come first.
        model.forecast.unclear |= now > 0 && last.is_some_and(|(then, before)| then == now && before != due);
        last = Some((now, due));
    }
    model.forecast
}

impl Model<'_> {
    fn plan(&mut self, when: u64, due: Due) {
        self.planned += 1;
        self.due.insert((when, self.planned), due);
    }

    fn start(&mut self, scope: usize, name: String, life: Option<Life>) {
        self.forecast.started.insert(name.clone());
        let due = life.as_ref().map(|life| self.now + life.after);
        self.children.push(Child { name, scope, life, phase: Phase::Lives });
        let child = self.children.len() - 1;
        due.into_iter().for_each(|due| self.plan(due, Due::Child(child, Phase::Lives)));
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Child(child, phase) if self.children[child].phase == phase => self.concludes(child),
            Due::Cancel(at, patience, grace) => {
                let verdict = &mut self.forecast.verdicts[at];
                let until = self.now + patience;
                verdict.enforced = Some(verdict.enforced.map_or(until, |before| before.min(until)));
                self.cancel(at, format!("cancel {}", self.now), until + grace);
            }
            Due::Close(at) if !self.states[at].over && !self.states[at].closing => {
                self.states[at].closing = true;
                self.ends_if_empty(at);
            }
            Due::Deadline(at) if !self.states[at].over => {
                let enforced = &mut self.forecast.verdicts[at].enforced;
                *enforced = Some(enforced.map_or(self.now, |before| before.min(self.now)));
                self.cancel(at, "its deadline passed".to_owned(), self.now + self.plan[at].grace);
            }
            Due::GraceOver(at) if !self.states[at].over => {
                if self.states[at].cancelled.as_ref().map(|(_, until)| *until) != Some(self.now) {
                    return;
                }
                for child in self.alive_in(at) {
                    self.forecast.unclear |= self.children[child].life.is_none();
                    self.ends(child, "aborted");
                }
            }
            _ => {}
        }
    }

    fn alive_in(&self, at: usize) -> Vec<usize> {
        let alive = |child: &usize| self.children[*child].scope == at && self.children[*child].phase != Phase::Over;
        (0..self.children.len()).filter(alive).collect()
    }

    fn concludes(&mut self, child: usize) {
        let Child { scope, ref name, ref life, phase } = self.children[child];
        match life.as_ref().map(|life| life.end.clone()) {
            Some(End::Fails | End::Panics) => self.ends(child, "failed"),
            Some(End::Starts(next, more)) if phase != Phase::Leaves => {
                let name = format!("{name}+");
                self.children[child].phase = Phase::Leaves;
                self.plan(self.now + more, Due::Child(child, Phase::Leaves));
                if self.states[scope].cancelled.is_some() {
                    self.forecast.ends.insert(name, ("aborted", self.now));
                } else {
                    self.start(scope, name, Some(*next));
                }
            }
            _ => self.ends(child, "done"),
        }
    }

    fn ends(&mut self, child: usize, how: &'static str) {
        let Child { scope, ref name, ref mut phase, .. } = self.children[child];
        *phase = Phase::Over;
        let name = name.clone();
        self.forecast.ends.insert(name.clone(), (how, self.now));
        if how == "failed" && self.plan[scope].together {
            self.states[scope].failures.push(name.clone());
            self.cancel(scope, format!("{name} failed"), self.now + self.plan[scope].grace);
        }
        self.ends_if_empty(scope);
    }

    /// The first reason stands, the earlier end counts, and whoever listens hears it now.
    fn cancel(&mut self, at: usize, reason: String, until: u64) {
        if self.states[at].over {
            return;
        }
        let before = self.states[at].cancelled.take();
        let until = before.as_ref().map_or(until, |(_, before)| until.min(*before));
        self.states[at].closing = true;
        self.plan(until, Due::GraceOver(at));
        self.states[at].cancelled = Some((before.clone().map_or(reason, |(first, _)| first), until));
        if before.is_some() {
            return;
        }
        self.forecast.verdicts[at].enforced.get_or_insert(self.now);
        for child in self.alive_in(at) {
            let Child { ref life, ref mut phase, .. } = self.children[child];
            let lingers = life.as_ref().and_then(|life| life.lingers).filter(|_| *phase == Phase::Lives);
            if let Some(lingers) = lingers {
                *phase = Phase::Lingers;
                self.plan(self.now + lingers, Due::Child(child, Phase::Lingers));
            }
        }
        let lived = !self.alive_in(at).is_empty();
        for inner in (0..self.plan.len()).filter(|inner| self.plan[*inner].parent == Some(at)) {
            if self.states[inner].cancelled.is_none() {
                self.cancel(inner, "its scope was cancelled".to_owned(), self.now + self.plan[inner].grace);
            }
        }
        self.ends_if_empty(at);
        // Where everybody is gone in the very moment, they may be joined before the cancel is heard of, and it ends as if there were none.
        self.forecast.unclear |= lived && self.states[at].over;
    }

    fn ends_if_empty(&mut self, at: usize) {
        let state = &mut self.states[at];
        let ends = state.closing && !state.over;
        if !ends || !self.alive_in(at).is_empty() {
            return;
        }
        let state = &mut self.states[at];
        state.over = true;
        let verdict = &mut self.forecast.verdicts[at];
        verdict.ended = self.now;
        verdict.outcome = match &state.cancelled {
            _ if !state.failures.is_empty() => format!("failed: {}", state.failures.join(", ")),
            Some((reason, _)) => format!("cancelled: {reason}"),
            None => "ok".to_owned(),
        };
        let failed = !state.failures.is_empty();
        let name = format!("scope {at}");
        if let Some(child) = self.children.iter().position(|child| child.name == name) {
            self.ends(child, if failed { "failed" } else { "done" });
        }
    }
}
