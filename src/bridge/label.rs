//! What an operation does, in words: made when it is asked for, which is almost never, and not at every query.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Shown;

/// What is acted on.
#[derive(Clone)]
enum Object {
    /// The link itself.
    Link,
    /// Something that needs no more words.
    Plain,
    /// These bytes.
    Bytes(Bytes),
    /// So many bytes.
    Count(usize),
}

/// See the module.
#[derive(Clone)]
pub(super) struct Label {
    verb: &'static str,
    object: Object,
    link: Arc<str>,
    /// Part of an exchange, which speaks for it.
    inside: bool,
}

impl Label {
    /// Something done to the link itself: "setting up scale".
    pub(super) fn of(verb: &'static str, link: &Arc<str>) -> Label {
        Label { verb, object: Object::Link, link: link.clone(), inside: false }
    }

    /// Something done on the link: "receiving on scale".
    pub(super) fn on(verb: &'static str, link: &Arc<str>) -> Label {
        Label { verb, object: Object::Plain, link: link.clone(), inside: false }
    }

    /// The same, with the bytes it is about: "the query 'S' on scale".
    pub(super) fn with(mut self, bytes: &Bytes) -> Label {
        self.object = Object::Bytes(bytes.clone());
        self
    }

    /// The same, as a part of an exchange.
    pub(super) fn inside(mut self) -> Label {
        self.inside = true;
        self
    }

    /// Whether it is a part of an exchange.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    /// The link and the command, where this is something said on a link.
    pub(super) fn exchange(&self) -> Option<(&str, Option<&Bytes>)> {
        match &self.object {
            _ if self.inside => None,
            Object::Link => None,
            Object::Plain | Object::Count(_) => Some((&self.link, None)),
            Object::Bytes(bytes) => Some((&self.link, Some(bytes))),
        }
    }

    /// The same, with their number: "reading 7 bytes on scale".
    pub(super) fn counting(mut self, bytes: usize) -> Label {
        self.object = Object::Count(bytes);
        self
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label { verb, object, link, .. } = self;
        match object {
            Object::Link => write!(f, "{verb} {link}"),
            Object::Plain => write!(f, "{verb} on {link}"),
            Object::Bytes(bytes) => write!(f, "{verb} {} on {link}", Shown(bytes)),
            Object::Count(n) => write!(f, "{verb} {n} bytes on {link}"),
        }
    }
}
