//! One session of a link: find, open, run the actor, close. Its phases are what `state` shows.
//!
//! # Invariants
//! 1. A session that did not open leaves nothing: no descriptor, no berth, no entry.
//! 2. Every session ends: told, lost, forgotten or at exit, within `close_timeout` and a little; what is stuck is named.
//! 3. The berth is given back by whoever closes the pipe, after it is closed.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, End};
use super::berths::{Berth, Berths, Holder};
use super::conversation::Conversation;
use super::desk::Desk;
use super::job::{Closing, Request};
use super::log::Level;
use super::opener::{Attempt, Place};
use super::reconnecting::serve;
use super::{Link, Phase};
use crate::clock::{Moment, Stamp};
use crate::error::{LinkError, OpenError, OpenKind, Seconds};
use crate::nursery::census::Kind;
use crate::nursery::thread::on_thread;
use crate::transport::Opened;

/// What setup is to do about another link on the same port, and where it was called.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Where `setup()` was called, in words.
    pub place: String,
    /// Stop an idle link that holds the port.
    pub replace: bool,
    /// Entering a link that is already set up is an error.
    pub once: bool,
}

/// A session, seen from the link.
pub struct Session {
    pub(super) mailbox: mpsc::UnboundedSender<Request>,
    pub(super) desk: Desk,
    /// Told to give up opening.
    pub(super) give_up: CancellationToken,
    pub(super) opened: watch::Receiver<Option<Result<(), LinkError>>>,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) place: String,
    pub(super) since: Stamp,
    /// Setups that wait for it, or whose success has not been claimed.
    pub(super) interested: AtomicUsize,
    /// Some setup's success was claimed: it is somebody's.
    pub(super) kept: AtomicBool,
    /// The last setup that wanted it gave it up: who comes now needs another.
    pub(super) abandoned: AtomicBool,
    /// What did not end in time.
    pub(super) stuck: Mutex<Vec<String>>,
}

impl Session {
    /// Whether nothing of it runs any more; a task that was torn down counts too.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Waits until it is over. *Cancel safety*: nothing is lost.
    pub(super) async fn over(&self) {
        // An error means that the session's task is gone, which is over too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// What did not end in time.
    pub fn stuck(&self) -> Vec<String> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opening was given up: a thread of it that still runs does not come back from the system.
    fn name_the_stuck(&self, link: &Link, place: &Place) {
        let ending = format!("-{}", link.config.name);
        let threads = place.nursery.census().alive().into_iter().filter(|entry| entry.kind == Kind::Thread);
        for thread in threads.filter(|thread| thread.name.ends_with(&ending)) {
            link.log(Level::Error, format!("thread {} is stuck opening {}", thread.name, link.config.port));
            self.stuck.lock().unwrap_or_else(PoisonError::into_inner).push(format!("thread {}", thread.name));
        }
    }

    /// Tells it to end.
    pub(super) fn close(&self, why: Closing) {
        // First, so that whoever looks for a lost port ends because it was told to, and not for want of a port. A session that has ended
        // does not read its mail.
        let _ = self.mailbox.send(Request::Close(why));
        self.give_up.cancel();
    }
}

/// The task of a session.
pub(super) struct Run {
    pub(super) link: Arc<Link>,
    pub(super) session: Arc<Session>,
    pub(super) inbox: mpsc::UnboundedReceiver<Request>,
    pub(super) opened: watch::Sender<Option<Result<(), LinkError>>>,
    pub(super) ended: watch::Sender<bool>,
    pub(super) place: Place,
    pub(super) berths: Berths,
    pub(super) replace: bool,
}

impl Run {
    pub(super) async fn run(self) {
        let Run { link, session, inbox, opened, ended, place, berths, replace } = self;
        let at = Opening { link: &link, session: &session, place: &place, berths: &berths };
        let mut result = open(&at, replace).await;
        if session.give_up.is_cancelled() {
            if let Ok((pipe, berth)) = result {
                close_pipe(&link, &session, &place, pipe, berth).await;
            }
            result = Err(link.closed("it was stopped while it was being set up"));
            session.name_the_stuck(&link, &place);
        }
        match result {
            Err(error) => {
                link.enter(&session, Phase::Closed);
                opened.send_replace(Some(Err(error)));
            }
            Ok((mut pipe, berth)) => {
                let clock = place.clock();
                if berth.is_some() {
                    // What a device was told before is not ours.
                    pipe.discard_input();
                }
                let conversation = link.new_conversation(&session, clock.stamp(), berth.is_some());
                let actor = Actor::new(pipe, conversation, inbox, clock.clone());
                link.enter(&session, Phase::Open(session.clone()));
                opened.send_replace(Some(Ok(())));
                if let Some((actor, end, berth)) = serve(&at, actor, berth).await {
                    close(&link, &session, &place, actor, berth, end).await;
                }
            }
        }
        ended.send_replace(true);
    }
}

/// What opening a port needs to know.
pub(super) struct Opening<'a> {
    pub(super) link: &'a Arc<Link>,
    pub(super) session: &'a Arc<Session>,
    pub(super) place: &'a Place,
    berths: &'a Berths,
}

pub(super) async fn open(
    at: &Opening<'_>,
    replace: bool,
) -> Result<(Box<dyn crate::transport::Transport>, Option<Berth>), LinkError> {
    let Opening { link, session, place, berths } = *at;
    let began = place.clock().now();
    let clock = place.clock();
    let opener = &link.config.opener;
    let deadline = clock.now() + opener.limit();
    let too_late = || OpenError::new(OpenKind::Refused, format!("no answer within {} s", Seconds(opener.limit())));
    let fail = |cause: OpenError, port: &str| link.open_failed(cause, port, clock.now().since(began));
    let none = link.config.port.as_ref();
    if clock.is_virtual() && !opener.is_in_memory() {
        let why = "virtual time covers links in memory only, and the kernel's clock cannot be stopped; use transport='memory'";
        return Err(fail(OpenError::new(OpenKind::Unsupported, why.to_owned()), none));
    }
    let attempt = Attempt { name: link.config.name.clone(), place: place.clone(), given_up: session.give_up.clone() };
    let (port, device) = see_through(opener.find(&attempt), deadline, &attempt)
        .await
        .unwrap_or_else(|| Err(too_late()))
        .map_err(|cause| fail(cause, none))?;
    let mut berth = None;
    if let Some(device) = device {
        berth = Some(take_berth(link, session, berths, device, replace, deadline, place).await?);
    }
    let opened = see_through(opener.open(&port, &attempt), deadline, &attempt).await.unwrap_or_else(|| Err(too_late()));
    let Opened { pipe, notices, .. } = opened.map_err(|cause| fail(cause, &port))?;
    for notice in notices {
        link.log(Level::Warning, format!("{}: {notice}", link.config.name));
    }
    Ok((pipe, berth))
}

/// How long opening is waited for after it was given up: a thread in a system call cannot be interrupted, and must not be left behind
/// unseen. Within the two seconds of a cancelled await.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

/// Waits for `work` until `deadline`, and for a while after the attempt was given up.
async fn see_through<T>(work: impl Future<Output = T>, deadline: Moment, attempt: &Attempt) -> Option<T> {
    let clock = attempt.place.clock();
    let mut work = pin!(clock.until(deadline, work));
    tokio::select! {
        biased;
        ended = &mut work => ended,
        () = attempt.given_up.cancelled() => clock.until(clock.now() + PATIENCE, work).await.flatten(),
    }
}

async fn take_berth(
    link: &Arc<Link>,
    session: &Arc<Session>,
    berths: &Berths,
    device: u64,
    replace: bool,
    deadline: Moment,
    place: &Place,
) -> Result<Berth, LinkError> {
    loop {
        let holder = Holder {
            link: Arc::downgrade(link),
            name: link.config.name.clone(),
            place: session.place.clone(),
            since: session.since,
        };
        let other = match berths.take(device, holder) {
            Ok(berth) => return Ok(berth),
            Err(other) => other,
        };
        let clock = place.clock();
        let held = other.link.upgrade().and_then(|other| other.session().map(|session| (other, session)));
        let closing = match &held {
            // Its lifespan parks its instrument before it closes it: that is for who set it up.
            Some((other, session)) if replace && is_idle(other) && other.lifespan() != 0 => {
                let why =
                    format!("the link {} of this process has the port, set up {}", other.config.name, session.place);
                return Err(LinkError::Busy { about: link.about(None), why, lifespan: other.lifespan() });
            }
            Some((other, session)) if replace && is_idle(other) => {
                link.log(
                    Level::Info,
                    format!(
                        "{} was set up on the same port ({}); it is stopped for {}",
                        other.config.name, session.place, link.config.name
                    ),
                );
                other.end(Closing::Stopped);
                true
            }
            Some((other, _)) => other.is_closing(),
            // Its link is gone and its pipe is being closed.
            None => true,
        };
        if !closing || clock.now() >= deadline {
            let age = Seconds(clock.now().since(other.since.moment));
            return Err(link.busy(format!(
                "the link {} of this process has the port, set up {} {age} s ago; stop it first, or setup(replace=True)",
                other.name, other.place
            )));
        }
        let closed = async {
            match &held {
                Some((_, session)) => session.over().await,
                None => clock.sleep(Duration::from_millis(2)).await,
            }
        };
        tokio::select! {
            _ = clock.until(deadline, closed) => {}
            () = session.give_up.cancelled() => return Err(link.closed("it was stopped while it waited for the port")),
        }
    }
}

fn is_idle(link: &Link) -> bool {
    !link.is_busy() && link.is_open()
}

async fn close(
    link: &Arc<Link>,
    session: &Arc<Session>,
    place: &Place,
    mut actor: Actor,
    berth: Option<Berth>,
    end: End,
) {
    let clock = place.clock().clone();
    let now = clock.stamp();
    let deadline = now.moment + link.config.close_timeout;
    let next = match end {
        End::Closed(why) => {
            link.enter(session, Phase::Closing(session.clone()));
            let reason = match why {
                Closing::Stopped => "it was stopped",
                Closing::Forgotten => "nothing referred to it any more",
                Closing::Exit => "the process is ending",
            };
            link.trace.note(now, format!("closed: {reason}"));
            actor.close_mailbox(now);
            let holds_break = actor.conversation.holds_break();
            let park = link.config.park.as_ref().filter(|_| why != Closing::Stopped);
            let last_words = actor.conversation.last_words(park, now);
            actor.conversation.end(&|about| LinkError::Closed { about, why: reason.to_owned() }, now);
            if holds_break {
                actor.end_break(deadline).await;
            }
            if !last_words.is_empty() {
                let said = actor.say_last(last_words, deadline).await;
                let note = match (said, park) {
                    (false, _) => "the last words could not be written",
                    (true, Some(_)) => "parked",
                    (true, None) => "aborted",
                };
                link.trace.note(clock.stamp(), note);
            }
            actor.drain(deadline).await;
            Phase::Closed
        }
        End::Reopen => Phase::Closed,
        End::Lost(cause) => {
            let cause = Arc::new(cause);
            link.trace.note(now, format!("lost: {cause}"));
            // Whoever asks from now on hears why; the port is closed behind it.
            link.enter(session, Phase::Lost { session: session.clone(), cause: cause.clone() });
            link.log(Level::Warning, format!("{} is gone ({}): {cause}", link.config.name, link.config.port));
            actor.close_mailbox(now);
            actor.conversation.end(&|about| LinkError::Lost { about, cause: cause.clone() }, now);
            Phase::Lost { session: session.clone(), cause }
        }
    };
    close_pipe(link, session, place, actor.into_pipe(), berth).await;
    link.enter(session, next);
}

/// Closing may take a hundred times as long as the deadline if a driver is stuck; then it is named and left behind.
const CLOSING_ITSELF: Duration = Duration::from_millis(500);

pub(super) async fn close_pipe(
    link: &Arc<Link>,
    session: &Arc<Session>,
    place: &Place,
    pipe: Box<dyn crate::transport::Transport>,
    berth: Option<Berth>,
) {
    if !pipe.close_blocks() {
        pipe.close();
        drop(berth);
        return;
    }
    let name = format!("labtether-close-{}", link.config.name);
    let clock = place.clock();
    let work = move || {
        pipe.close();
        drop(berth);
    };
    let closing = on_thread(place.nursery.census(), Some(place.nursery.id()), &name, work, drop);
    match clock.until(clock.now() + CLOSING_ITSELF, closing).await {
        Some(Ok(Some(()))) => {}
        Some(Ok(None)) => link.log(Level::Error, format!("thread {name} panicked while closing {}", link.config.port)),
        Some(Err(error)) => link.log(Level::Error, format!("no thread to close {} on: {error}", link.config.port)),
        None => {
            link.log(
                Level::Error,
                format!("thread {name} is stuck: the driver of {} does not close it", link.config.port),
            );
            session
                .stuck
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("thread {name} (the driver does not close the port)"));
        }
    }
}

impl Link {
    fn new_conversation(&self, session: &Session, now: Stamp, is_device: bool) -> Conversation {
        let before = self.gauge.counts().last.is_some();
        let mut conversation = Conversation::new(
            self.config.rules(),
            self.trace.clone(),
            session.mailbox.clone(),
            self.gauge.clone(),
            now.moment,
        );
        if is_device || before {
            // What the session before was told may still be on its way.
            conversation.settle_first(now);
        }
        self.trace.note(now, format!("open: {}", self.config.port));
        conversation
    }
}
