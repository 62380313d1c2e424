//! Nurseries: scopes whose children all end before they do. Knows nothing of bytes, links or Python.
//!
//! A nursery is a supervisor task, not a value: what users hold are handles, and dropping one never has to wait.
//!
//! # Invariants
//! 1. The outcome is published only when the supervisor's `JoinSet` is empty. tokio guarantees that a joined task's destructors have run.
//! 2. After the last child has ended and the nursery is closing, `spawn` is refused; nothing is accepted and then forgotten.
//! 3. Cancelling is asked first (the token), and enforced after `grace` (abort); the supervisor then still joins.
//! 4. A panic is a failure like any other, with its child's name.

pub mod census;
pub mod outcome;
pub mod thread;

use std::collections::HashMap;
use std::error::Error;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use census::{Alive, Census, Kind};
use outcome::{Ended, Failure, Fault, Outcome, panic_message};

/// What a child returns.
pub type Finish = Result<(), Arc<dyn Error + Send + Sync>>;

type Work = Pin<Box<dyn Future<Output = Finish> + Send>>;
type OnEnd = Box<dyn FnOnce(&Ended) + Send>;

/// How a nursery treats its children.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// When the whole nursery is cancelled by itself.
    pub deadline: Moment,
    /// How long a cancelled child may take before it is dropped where it stands.
    pub grace: Duration,
    /// Whether it ends only when it is told to, also when it is cancelled: others than Rust's live in it.
    pub stays: bool,
    /// Whether the first failure cancels the others. The hidden root says no: one instrument's fault must not park another.
    pub together: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { deadline: Moment::NEVER, grace: Duration::from_secs(2), stays: false, together: true }
    }
}

/// The nursery has ended, or is about to: nothing can be started in it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("nursery {0} has ended")]
pub struct NurseryEnded(pub Arc<str>);

enum Order {
    Spawn(Child),
    Cancel { reason: Arc<str>, grace: Duration },
    Close,
}

struct Child {
    name: Arc<str>,
    work: Work,
    on_end: Option<OnEnd>,
    alive: Alive,
}

/// A handle on a nursery; cheap to clone.
#[derive(Clone)]
pub struct Nursery(Arc<Inside>);

struct Inside {
    name: Arc<str>,
    id: u64,
    clock: Clock,
    census: Census,
    rules: Rules,
    token: CancellationToken,
    orders: mpsc::UnboundedSender<Order>,
    cancelling: Cancelling,
    ended: watch::Receiver<Option<Outcome>>,
}

/// Why it is being cancelled, and until when children that are not Rust's may go on.
type Cancelling = Arc<watch::Sender<Option<(Arc<str>, Moment)>>>;

fn note(cancelling: &Cancelling, reason: &Arc<str>, until: Moment) {
    // The first reason stands; an earlier end counts.
    cancelling.send_modify(|noted| match noted {
        Some((_, before)) => *before = until.min(*before),
        None => *noted = Some((reason.clone(), until)),
    });
}

impl Nursery {
    /// A nursery and its supervisor. Whoever runs the supervisor is the parent; nothing runs before that does.
    pub fn open(
        name: &str,
        clock: &Clock,
        census: &Census,
        parent: Option<&Nursery>,
        rules: Rules,
    ) -> (Nursery, Supervisor) {
        let name: Arc<str> = Arc::from(name);
        let alive = census.enter(parent.map(|parent| parent.0.id), Kind::Nursery, &name);
        let (orders, inbox) = mpsc::unbounded_channel();
        let (publish, ended) = watch::channel(None);
        let cancelling: Cancelling = Arc::new(watch::channel(None).0);
        let token = parent.map_or_else(CancellationToken::new, |parent| parent.0.token.child_token());
        let inside = Inside {
            name: name.clone(),
            id: alive.id(),
            clock: clock.clone(),
            census: census.clone(),
            rules,
            token: token.clone(),
            orders,
            cancelling: cancelling.clone(),
            ended,
        };
        let supervisor = Supervisor {
            clock: clock.clone(),
            rules,
            token,
            inbox,
            publish,
            alive,
            children: JoinSet::new(),
            known: HashMap::new(),
            failures: Vec::new(),
            cancelled: None,
            cancelling,
            closing: false,
        };
        (Nursery(Arc::new(inside)), supervisor)
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Its number in the census.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The clock its children wait on.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Where its children are registered.
    pub fn census(&self) -> &Census {
        &self.0.census
    }

    /// Cancelled together with the nursery. A child watches it and winds up.
    pub fn token(&self) -> CancellationToken {
        self.0.token.clone()
    }

    /// Starts a child. `on_end` runs on the runtime thread once it has been joined, however it ended.
    ///
    /// *Errors*: the nursery has ended; `work` is dropped unstarted.
    pub fn spawn<F>(&self, name: &str, work: F, on_end: Option<OnEnd>) -> Result<(), NurseryEnded>
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        let name: Arc<str> = Arc::from(name);
        let alive = self.0.census.enter(Some(self.0.id), Kind::Task, &name);
        let child = Child { name, work: Box::pin(work), on_end, alive };
        self.0.orders.send(Order::Spawn(child)).map_err(|_| NurseryEnded(self.0.name.clone()))
    }

    /// Asks every child to stop, and drops those that have not within the nursery's grace period. Does not wait.
    pub fn cancel(&self, reason: &str) {
        self.cancel_within(reason, self.0.rules.grace);
    }

    /// The same, with another grace period.
    pub fn cancel_within(&self, reason: &str, grace: Duration) {
        self.cancel_after(reason, Duration::ZERO, grace);
    }

    /// The same; children that are not Rust's may go on for `patience` before [`Nursery::enforced`] tells them to stop.
    pub fn cancel_after(&self, reason: &str, patience: Duration, grace: Duration) {
        let reason = Arc::from(reason);
        note(&self.0.cancelling, &reason, self.0.clock.now() + patience);
        // Before the token, or the supervisor would think of a reason of its own. One that has ended cannot be cancelled any more; that
        // is no one's fault.
        let _ = self.0.orders.send(Order::Cancel { reason, grace: patience + grace });
        self.0.token.cancel();
    }

    /// Waits until it is being cancelled and the patience for children that are not Rust's is over: why.
    pub async fn enforced(&self) -> Arc<str> {
        let mut noted = self.0.cancelling.subscribe();
        loop {
            let now = noted.borrow_and_update().clone();
            // The sender lives as long as this handle.
            match now {
                Some((reason, until)) => {
                    if self.0.clock.until(until, noted.changed()).await.is_none() {
                        return reason;
                    }
                }
                None => drop(noted.changed().await),
            }
        }
    }

    /// Why it is being cancelled, if it is.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.0.cancelling.borrow().as_ref().map(|(reason, _)| reason.clone())
    }

    /// Lets the nursery end when its children have.
    pub fn close(&self) {
        let _ = self.0.orders.send(Order::Close);
    }

    /// Waits until nothing of it is left.
    pub async fn ended(&self) -> Outcome {
        let mut ended = self.0.ended.clone();
        let outcome = match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        outcome.unwrap_or_else(|| Outcome::Cancelled(Arc::from("its supervisor was dropped")))
    }
}

/// The task that owns the children. Run it in the parent.
pub struct Supervisor {
    clock: Clock,
    rules: Rules,
    token: CancellationToken,
    inbox: mpsc::UnboundedReceiver<Order>,
    publish: watch::Sender<Option<Outcome>>,
    alive: Alive,
    children: JoinSet<Finish>,
    known: HashMap<Id, (Arc<str>, Option<OnEnd>, Alive)>,
    failures: Vec<Failure>,
    cancelled: Option<(Arc<str>, Moment)>,
    cancelling: Cancelling,
    closing: bool,
}

enum Event {
    Order(Option<Order>),
    Joined(Option<Result<(Id, Finish), JoinError>>),
    TokenCancelled,
    Deadline,
    GraceOver,
}

impl Supervisor {
    /// Supervises until the nursery is closed or cancelled and every child has ended.
    pub async fn run(mut self) -> Outcome {
        loop {
            while !(self.closing && self.children.is_empty()) {
                let event = self.next().await;
                self.take(event);
            }
            // What its last children asked for was accepted, and comes first.
            match self.inbox.try_recv() {
                Ok(order) => self.take(Event::Order(Some(order))),
                Err(_) => break,
            }
        }
        self.refuse_the_rest().await;
        let outcome = match self.cancelled.take() {
            _ if !self.failures.is_empty() => Outcome::Failed(std::mem::take(&mut self.failures)),
            Some((reason, _)) => Outcome::Cancelled(reason),
            // Cancelled in the very moment of its end.
            None if self.token.is_cancelled() => Outcome::Cancelled(Arc::from("its scope was cancelled")),
            None => Outcome::Ok,
        };
        let Supervisor { publish, alive, .. } = self;
        drop(alive);
        publish.send_replace(Some(outcome.clone()));
        outcome
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Order(Some(Order::Spawn(child))) => self.start(child),
            Event::Order(Some(Order::Cancel { reason, grace })) => self.cancel(reason, grace),
            // Without a handle nobody can start anything in it any more.
            Event::Order(Some(Order::Close) | None) => self.closing = true,
            Event::Joined(Some(joined)) => self.joined(joined),
            Event::Joined(None) => {}
            Event::TokenCancelled => self.cancel(Arc::from("its scope was cancelled"), self.rules.grace),
            Event::Deadline => self.too_late(),
            Event::GraceOver => self.abort(),
        }
    }

    async fn next(&mut self) -> Event {
        let grace = self.cancelled.as_ref().map_or(Moment::NEVER, |(_, grace)| *grace);
        let armed = self.cancelled.is_none();
        tokio::select! {
            biased;
            joined = self.children.join_next_with_id(), if !self.children.is_empty() => Event::Joined(joined),
            order = self.inbox.recv(), if !(self.closing && self.inbox.is_closed() && self.inbox.is_empty()) => Event::Order(order),
            () = self.token.cancelled(), if armed => Event::TokenCancelled,
            () = self.clock.sleep_until(self.rules.deadline), if self.rules.deadline != Moment::NEVER => Event::Deadline,
            () = self.clock.sleep_until(grace), if !armed && grace != Moment::NEVER => Event::GraceOver,
            () = pending() => Event::Joined(None),
        }
    }

    fn start(&mut self, child: Child) {
        let Child { name, work, on_end, alive } = child;
        if self.cancelled.is_some() {
            // It came too late to run; dropping the work is its cancellation, and `on_end` says so.
            drop((work, alive));
            if let Some(on_end) = on_end {
                on_end(&Ended::Aborted);
            }
            return;
        }
        let id = self.children.spawn(work).id();
        self.known.insert(id, (name, on_end, alive));
    }

    fn cancel(&mut self, reason: Arc<str>, grace: Duration) {
        if self.cancelling.borrow().is_none() {
            note(&self.cancelling, &reason, self.clock.now());
        }
        self.token.cancel();
        let until = self.clock.now() + grace;
        self.cancelled = match self.cancelled.take() {
            // The first reason stands; a later, shorter grace period counts.
            Some((first, before)) => Some((first, before.min(until))),
            None => Some((reason, until)),
        };
        self.closing |= !self.rules.stays;
    }

    /// The deadline ends a longer patience too.
    fn too_late(&mut self) {
        self.rules.deadline = Moment::NEVER;
        let reason = Arc::from("its deadline passed");
        note(&self.cancelling, &reason, self.clock.now());
        self.cancel(reason, self.rules.grace);
    }

    fn joined(&mut self, joined: Result<(Id, Finish), JoinError>) {
        let (id, ended) = match joined {
            Ok((id, Ok(()))) => (id, Ended::Done),
            Ok((id, Err(error))) => (id, Ended::Failed(Fault::Error(error))),
            Err(error) if error.is_panic() => {
                let id = error.id();
                (id, Ended::Failed(Fault::Panic(panic_message(&*error.into_panic()))))
            }
            Err(error) => (error.id(), Ended::Aborted),
        };
        let Some((child, on_end, alive)) = self.known.remove(&id) else { return };
        drop(alive);
        if let Ended::Failed(fault) = &ended {
            let reason = format!("{child} failed");
            if self.rules.together {
                self.failures.push(Failure { child, fault: fault.clone() });
                self.cancel(Arc::from(reason), self.rules.grace);
            }
        }
        if let Some(on_end) = on_end {
            on_end(&ended);
        }
    }

    /// The grace period is over: what still runs is dropped at its next await. We still join it.
    fn abort(&mut self) {
        self.children.abort_all();
        if let Some((_, grace)) = &mut self.cancelled {
            *grace = Moment::NEVER;
        }
    }

    async fn refuse_the_rest(&mut self) {
        self.inbox.close();
        // Not `try_recv`: an order may be half way in.
        while let Some(order) = self.inbox.recv().await {
            if let Order::Spawn(Child { on_end: Some(on_end), work, .. }) = order {
                drop(work);
                on_end(&Ended::Aborted);
            }
        }
    }
}
