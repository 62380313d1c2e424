//! `setup()` and `stop()`: what they do in each phase. All or nothing, in bounded time, from anywhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::berths::Berths;
use super::desk::Desk;
use super::job::Closing;
use super::opener::Place;
use super::session::{Run, Session, Wish};
use super::ticket::{Answer, Pending, Ticket, Verdict, next_id, ticket};
use super::{Link, Phase};
use crate::error::{Effect, Evidence, LinkError, Seconds};
use crate::nursery::outcome::{Ended, Fault};

/// Where a setup found the link.
enum Found {
    Open,
    OnTheWay(Arc<Session>),
    Closing(Arc<Session>),
    Refused(LinkError),
}

impl Link {
    /// Sets the link up, in the background; the verdict comes when it is open, or has failed and left nothing.
    ///
    /// *Cancel safety*: a cancelled setup that nobody else waits for is undone before it ends.
    pub fn setup(self: &Arc<Link>, place: &Place, berths: &Berths, wish: Wish) -> Setup {
        let (ticket, reply) = ticket(next_id(), &self.config.name, None);
        let token = CancellationToken::new();
        let share: Arc<Share> = Arc::default();
        let setup =
            Setup { ticket, token, share, undo: None, link: self.clone(), place: place.clone(), claimed: false };
        let stops = self.stops.load(Ordering::SeqCst);
        // Here and now, on the caller's thread: a `stop()` that comes next has to find it.
        let found = self.find(place, berths, &wish, stops, &setup.share);
        match found {
            Found::Open => reply.give(Ok(Answer::Nothing)),
            Found::Refused(error) => reply.give(Err(error)),
            Found::OnTheWay(_) | Found::Closing(_) => {
                let work = Work {
                    link: self.clone(),
                    place: place.clone(),
                    berths: berths.clone(),
                    wish,
                    token: setup.token.clone(),
                    share: setup.share.clone(),
                    stops,
                };
                let name = format!("setup {}", self.config.name);
                // A nursery that has ended drops the work, and with it the reply, which says that the link is closed.
                let _ = place.nursery.spawn(
                    &name,
                    async move {
                        reply.give(work.to_the_end(found).await);
                        Ok(())
                    },
                    None,
                );
            }
        }
        setup
    }

    /// Ends the link's session, whatever it is doing; the verdict comes when it is closed, or names what is stuck.
    ///
    /// *Cancel safety*: stopping goes on; the wait ends with it, within `close_timeout` and a little.
    pub fn stop(self: &Arc<Link>, place: &Place) -> Ticket {
        {
            // Under the lock, so that a setup either sees it or is seen by it.
            let _phase = self.phase();
            self.stops.fetch_add(1, Ordering::SeqCst);
        }
        self.end_and_wait(place)
    }

    /// The same for whoever undoes a setup of his own: other setups go on.
    fn end_and_wait(self: &Arc<Link>, place: &Place) -> Ticket {
        let (ticket, reply) = ticket(next_id(), &self.config.name, None);
        let (link, clock) = (self.clone(), place.clock().clone());
        let session = {
            let mut phase = self.phase();
            let session = phase.session().cloned();
            if let Phase::Lost { session, .. } = &*phase {
                // It is dead already; what is left of it is being closed, or is closed.
                let session = session.clone();
                *phase = if session.has_ended() { Phase::Closed } else { Phase::Closing(session) };
            }
            session
        };
        let Some(session) = session else {
            reply.give(Ok(Answer::Nothing));
            return ticket;
        };
        self.end(Closing::Stopped);
        let limit = self.config.close_timeout + Duration::from_secs(1);
        let work = async move {
            let over = clock.until(clock.now() + limit, session.over()).await.is_some();
            if over {
                link.enter(&session, Phase::Closed);
            }
            let mut stuck = session.stuck();
            if !over && stuck.is_empty() {
                stuck.push(format!("the session (it did not end within {} s)", Seconds(limit)));
            }
            reply.give(if stuck.is_empty() {
                Ok(Answer::Nothing)
            } else {
                Err(LinkError::Cleanup { about: link.about(None), limit: link.config.close_timeout, stuck })
            });
            Ok(())
        };
        let _ = place.nursery.spawn(&format!("stop {}", self.config.name), work, None);
        ticket
    }

    /// Where things stand for a setup that began when the link had been stopped `stops` times. A session that is open or on its way
    /// has its share from now on.
    fn find(self: &Arc<Link>, place: &Place, berths: &Berths, wish: &Wish, stops: u64, share: &Share) -> Found {
        let mut phase = self.phase();
        if self.stops.load(Ordering::SeqCst) != stops {
            return Found::Refused(self.closed("it was stopped while it was being set up"));
        }
        match &*phase {
            Phase::Open(session) | Phase::Opening(session) | Phase::Reconnecting(session)
                if session.abandoned.load(Ordering::SeqCst) =>
            {
                return Found::Closing(session.clone());
            }
            Phase::Open(session) | Phase::Opening(session) | Phase::Reconnecting(session) if wish.once => {
                let age = Seconds(place.clock().now().since(session.since.moment));
                return Found::Refused(
                    self.busy(format!("it was set up {} {age} s ago, and a link is entered once", session.place)),
                );
            }
            Phase::Open(session) | Phase::Reconnecting(session) => {
                share.join(session);
                return Found::Open;
            }
            Phase::Opening(session) => {
                share.join(session);
                return Found::OnTheWay(session.clone());
            }
            Phase::Closing(session) => return Found::Closing(session.clone()),
            Phase::Lost { session, .. } if !session.has_ended() => return Found::Closing(session.clone()),
            Phase::Lost { .. } | Phase::Closed => {}
        }
        let (session, run) = new_session(self, place, berths, wish);
        share.join(&session);
        *phase = Phase::Opening(session.clone());
        drop(phase);
        let (link, of) = (self.clone(), session.clone());
        let on_end = Box::new(move |ended: &Ended| {
            // However it ended, nothing of it is left now.
            if let Ended::Failed(Fault::Panic(message)) = ended {
                let why = format!("internal error in the link's loop, please report it: {message}");
                link.log(super::log::Level::Error, format!("{}: {why}", link.config.name));
                link.enter(&of, Phase::Lost { session: of.clone(), cause: Arc::new(io::Error::other(why)) });
            } else if matches!(link.state(), "opening" | "open" | "reconnecting" | "closing") {
                link.enter(&of, Phase::Closed);
            }
        });
        let spawned = place.nursery.spawn(
            &format!("link {}", self.config.name),
            async {
                run.run().await;
                Ok(())
            },
            Some(on_end),
        );
        match spawned {
            Ok(()) => Found::OnTheWay(session),
            Err(ended) => {
                self.enter(&session, Phase::Closed);
                Found::Refused(LinkError::Scope { scope: ended.to_string() })
            }
        }
    }
}

fn new_session(link: &Arc<Link>, place: &Place, berths: &Berths, wish: &Wish) -> (Arc<Session>, Run) {
    let (mailbox, inbox) = mpsc::unbounded_channel();
    let (opened, when_opened) = watch::channel(None);
    let (ended, when_ended) = watch::channel(false);
    let session = Arc::new(Session {
        mailbox,
        desk: Desk::default(),
        give_up: CancellationToken::new(),
        opened: when_opened,
        ended: when_ended,
        place: wish.place.clone(),
        since: place.clock().stamp(),
        interested: AtomicUsize::new(0),
        kept: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        stuck: std::sync::Mutex::default(),
    });
    let (place, berths) = (place.clone(), berths.clone());
    let run = Run {
        link: link.clone(),
        session: session.clone(),
        inbox,
        opened,
        ended,
        place,
        berths,
        replace: wish.replace,
    };
    (session, run)
}

/// A setup under way.
struct Work {
    link: Arc<Link>,
    place: Place,
    berths: Berths,
    wish: Wish,
    token: CancellationToken,
    share: Arc<Share>,
    /// How often the link had been stopped when this began.
    stops: u64,
}

impl Work {
    async fn to_the_end(&self, mut found: Found) -> Verdict {
        loop {
            let session = match found {
                Found::Open => return Ok(Answer::Nothing),
                Found::Refused(error) => return Err(error),
                Found::OnTheWay(session) => {
                    if let Some(verdict) = self.see_open(&session).await {
                        return verdict;
                    }
                    session
                }
                Found::Closing(session) => session,
            };
            tokio::select! {
                () = session.over() => {}
                () = self.token.cancelled() => return self.cancelled(),
            }
            // A session that was stopped while lost, or whose task was dropped, is closed by whoever comes next.
            self.link.enter(&session, Phase::Closed);
            found = self.link.find(&self.place, &self.berths, &self.wish, self.stops, &self.share);
        }
    }

    /// Waits until `session` is open, or has failed to open. `None`: another is needed once this one is over.
    async fn see_open(&self, session: &Arc<Session>) -> Option<Verdict> {
        let opened = tokio::select! {
            biased;
            opened = opening(session) => opened,
            () = self.token.cancelled() => {
                if self.share.leave() {
                    session.close(Closing::Stopped);
                    session.over().await;
                }
                return Some(self.cancelled());
            }
        };
        let Err(error) = opened else { return Some(Ok(Answer::Nothing)) };
        // Somebody else's setup may have been cancelled, and have taken this session for its own.
        let was_abandoned = session.abandoned.load(Ordering::SeqCst);
        self.share.leave();
        if was_abandoned { None } else { Some(Err(error)) }
    }

    fn cancelled(&self) -> Verdict {
        Err(LinkError::Cancelled { effect: Effect::NeverStarted, about: self.link.about(None) })
    }
}

/// Waits until the session is open, or has failed to open.
async fn opening(session: &Session) -> Result<(), LinkError> {
    let mut opened = session.opened.clone();
    match opened.wait_for(Option::is_some).await {
        Ok(opened) => opened.clone().unwrap_or(Ok(())),
        Err(_) => {
            let about = Box::new(Evidence::default());
            Err(LinkError::Closed { about, why: "its session ended while it was being set up".to_owned() })
        }
    }
}

/// One setup's interest in a session.
#[derive(Default)]
struct Share(std::sync::Mutex<Option<Arc<Session>>>);

impl Share {
    fn take(&self) -> Option<Arc<Session>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    fn join(&self, session: &Arc<Session>) {
        session.interested.fetch_add(1, Ordering::SeqCst);
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(session.clone());
    }

    /// Gives the interest up. Returns whether nobody else wants the session.
    fn leave(&self) -> bool {
        let Some(session) = self.take() else { return false };
        let last = session.interested.fetch_sub(1, Ordering::SeqCst) == 1;
        let abandoned = last && !session.kept.load(Ordering::SeqCst);
        if abandoned {
            session.abandoned.store(true, Ordering::SeqCst);
        }
        abandoned
    }

    fn keep(&self) {
        if let Some(session) = self.take() {
            session.kept.store(true, Ordering::SeqCst);
            session.interested.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The wait for a setup.
pub struct Setup {
    ticket: Ticket,
    token: CancellationToken,
    share: Arc<Share>,
    undo: Option<Ticket>,
    link: Arc<Link>,
    place: Place,
    claimed: bool,
}

impl Pending for Setup {
    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if let Some(undo) = &mut self.undo {
            let verdict = std::task::ready!(undo.poll_claim(cx));
            let about = self.link.about(None);
            return Poll::Ready(verdict.and(Err(LinkError::Cancelled { effect: Effect::NeverStarted, about })));
        }
        let verdict = std::task::ready!(self.ticket.poll_claim(cx));
        self.claimed = true;
        if verdict.is_ok() {
            if self.token.is_cancelled() {
                // It opened in the instant in which it was cancelled: nobody will stop it but we.
                return self.take_down(cx);
            }
            self.share.keep();
        }
        Poll::Ready(verdict)
    }

    fn cancel(&mut self) {
        self.token.cancel();
    }
}

impl Setup {
    fn take_down(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.share.leave() {
            self.undo = Some(self.link.end_and_wait(&self.place));
            return self.poll_claim(cx);
        }
        Poll::Ready(Err(LinkError::Cancelled { effect: Effect::NeverStarted, about: self.link.about(None) }))
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.token.cancel();
        if !self.claimed && self.undo.is_none() && self.share.leave() {
            drop(self.link.end_and_wait(&self.place));
        }
    }
}
