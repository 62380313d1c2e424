//! One step of a script: what it accepts, how often, and the parts of what it says to that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use regex::bytes::Regex;

use super::deed;
use crate::error::Cause;
use crate::framing::Framing;
use crate::framing::oracle::{Fault, Inquiry};
use crate::simulate::Say;
use crate::simulate::faults::{Faults, Happening};

/// The groups of a pattern, by name.
pub(super) type Groups = Vec<(String, Bytes)>;

/// What a step takes.
#[derive(Clone, Debug)]
pub struct Accepts {
    /// This, byte by byte.
    pub exactly: Option<Bytes>,
    /// What this matches in full; it is written so.
    pub like: Option<Regex>,
}

impl Accepts {
    /// The groups, if it takes `command`.
    pub(super) fn groups(&self, command: &Bytes) -> Option<Groups> {
        if self.exactly.as_ref() == Some(command) {
            return Some(Vec::new());
        }
        let like = self.like.as_ref()?;
        let found = like.captures(command)?;
        let named = like.capture_names().flatten();
        let group = |name: &str| {
            let value = found.name(name).map_or_else(Bytes::new, |group| command.slice(group.range()));
            (name.to_owned(), value)
        };
        Some(named.map(group).collect())
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it takes.
    pub accepts: Accepts,
    /// As its author wrote it, and where.
    pub written: (String, String),
    /// How often it has to come.
    pub least: usize,
    /// How often it may come.
    pub most: Option<usize>,
    /// What it says to that.
    pub parts: Vec<Part>,
    /// What is remembered of it.
    pub sets: Vec<(String, Template)>,
    /// How often it has come.
    pub count: usize,
}

impl Step {
    pub(super) fn is_open(&self) -> bool {
        self.most.is_none_or(|most| self.count < most)
    }

    pub(super) fn is_met(&self) -> bool {
        self.count >= self.least
    }
}

/// Text with the names of groups and of states in it, in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Bytes);

impl Template {
    /// `text` as it is written.
    pub fn new(text: impl Into<Bytes>) -> Template {
        Template(text.into())
    }

    /// With every `{name}` that is the name of a group, or else of a state, replaced by that. Everything else stays.
    pub(super) fn fill(&self, groups: &Groups, state: &BTreeMap<String, Bytes>) -> Bytes {
        let mut filled = BytesMut::with_capacity(self.0.len());
        let mut rest: &[u8] = &self.0;
        while let Some(open) = memchr::memchr(b'{', rest) {
            let (before, behind) = rest.split_at(open);
            filled.extend_from_slice(before);
            let inside = behind.get(1..).unwrap_or_default();
            let value = memchr::memchr(b'}', inside)
                .and_then(|close| Some((std::str::from_utf8(inside.get(..close)?).ok()?, close)))
                .and_then(|(name, close)| {
                    let group = groups.iter().find(|(group, _)| group == name).map(|(_, value)| value);
                    group.or_else(|| state.get(name)).map(|value| (value, close))
                });
            match value {
                Some((value, close)) => {
                    filled.extend_from_slice(value);
                    rest = inside.get(close + 1..).unwrap_or_default();
                }
                None => {
                    filled.extend_from_slice(b"{");
                    rest = inside;
                }
            }
        }
        filled.extend_from_slice(rest);
        filled.freeze()
    }
}

/// Where what is said comes from.
#[derive(Clone)]
pub enum Words {
    /// This, as it goes on the wire.
    Frame(Bytes),
    /// A message with names in it.
    Template(Template),
    /// The user's own code says it: a command to a 1 and what goes on the wire, or to nothing if it says nothing.
    Asked(Inquiry),
    /// The cable comes off.
    Unplug,
    /// The cable is on again.
    Plug,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Words::Frame(bytes) => write!(f, "Frame({bytes:?})"),
            Words::Template(template) => write!(f, "{template:?}"),
            Words::Asked(inquiry) => f.write_str(inquiry.name()),
            Words::Unplug => f.write_str("Unplug"),
            Words::Plug => f.write_str("Plug"),
        }
    }
}

/// What a part comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// This goes on the wire.
    Says(Bytes),
    /// The cable comes off.
    Unplugs,
    /// The cable is on again.
    Plugs,
}

/// One part of what is said to a command.
#[derive(Clone, Debug)]
pub struct Part {
    /// After the part before, or the command.
    pub after: Duration,
    /// What.
    pub words: Words,
    /// It answers the command; else it is said of the instrument's own accord.
    pub asked: bool,
    /// What goes wrong with this part alone.
    pub faults: Option<Arc<Mutex<Faults>>>,
}

impl Part {
    /// What it comes to; pending while code of the user's own is asked.
    pub(super) fn body(
        &self,
        command: &Bytes,
        groups: &Groups,
        state: &BTreeMap<String, Bytes>,
        framing: &Framing,
    ) -> Poll<Result<Doing, Fault>> {
        Poll::Ready(match &self.words {
            Words::Frame(frame) => Ok(Doing::Says(frame.clone())),
            Words::Template(template) => match framing.encode(&template.fill(groups, state)) {
                Ok(frame) => Ok(Doing::Says(frame)),
                Err(bad) => Err(unsayable(&bad.to_string())),
            },
            Words::Asked(inquiry) => match inquiry.ask(command) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(said) => {
                    said.map(|said| Doing::Says(said.get(1..).map_or_else(Bytes::new, |_| said.slice(1..))))
                }
            },
            Words::Unplug => Ok(Doing::Unplugs),
            Words::Plug => Ok(Doing::Plugs),
        })
    }

    pub(super) fn attend(&self, ring: &Waker) {
        if let Words::Asked(inquiry) = &self.words {
            inquiry.attend(ring);
        }
    }

    /// The same as what is done, `due` from `uptime`, after what goes wrong with it.
    pub(super) fn says(&self, uptime: Duration, due: Duration, doing: Doing) -> Vec<Say> {
        let say = |after: Duration, doing: Doing| Say { after, what: deed(doing), asked: self.asked };
        let (Some(faults), Doing::Says(bytes)) = (&self.faults, &doing) else { return vec![say(due, doing)] };
        let happenings = faults.lock().unwrap_or_else(PoisonError::into_inner).say(uptime + due, bytes);
        let happened = happenings.into_iter().map(|happening| match happening {
            Happening::Bytes { at, bytes } => say(at.saturating_sub(uptime), Doing::Says(bytes)),
            Happening::Disconnect { at } => say(at.saturating_sub(uptime), Doing::Unplugs),
            Happening::Reconnect { at } => say(at.saturating_sub(uptime), Doing::Plugs),
        });
        happened.collect()
    }
}

fn unsayable(why: &str) -> Fault {
    let raised = format!("this cannot be said in the instrument's framing: {why}");
    Fault { what: "a reply with names in it".to_owned(), raised, cause: Cause(Arc::new(())), removed: 0 }
}
