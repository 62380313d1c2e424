//! The loop that owns the wire: next, tell the conversation, write. The only code that touches a transport between open and close.
//!
//! It runs as a task; while that sleeps, who asks may take the actor's place for a moment (see `desk.rs`): what is asked of an idle
//! line is on the wire before anybody had to be woken.
//!
//! # Invariants
//! 1. Only the actor touches the transport. Handles hold a mailbox and its desk, never a port.
//! 2. Nothing in here waits, and no poll loses bytes when another is ready first.
//! 3. After `ask_now` the task is woken if anything is left to do that it was not going to be woken for.
//! 4. At most [`IN_KERNEL`] of output is in the kernel where the line is slower than the machine, so that an urgent message is not behind more.

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::controls::Need;
use super::conversation::Conversation;
use super::job::{Closing, Job, Request};
use super::pace::Pace;
use crate::clock::{Clock, Moment, Stamp, Timer};
use crate::transport::Transport;
use crate::transport::control::Control;
use crate::transport::unplugged::Unplugged;

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    /// It was told to.
    Closed(Closing),
    /// The port went away.
    Lost(io::Error),
    /// It is to be opened anew.
    Reopen,
}

/// See the module.
pub struct Actor {
    pub(super) pipe: Box<dyn Transport>,
    /// What is being said. Public to the session, which ends it.
    pub conversation: Conversation,
    inbox: mpsc::UnboundedReceiver<Request>,
    pub(super) clock: Clock,
    pub(super) timer: Timer,
    pub(super) pace: Pace,
    told_to_close: Option<Closing>,
    /// What went wrong while another thread was in the actor's place.
    failed: Option<io::Error>,
    panicked: Option<Box<dyn Any + Send>>,
    /// Of the task, while it sleeps.
    waker: Option<Waker>,
    /// Whether it is woken by bytes.
    listens: bool,
}

#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum Event {
    Asked(Option<Request>),
    Heard(usize),
    Wrote(usize),
    Due,
    Lost(io::Error),
}

impl Actor {
    /// An actor for an open pipe.
    pub fn new(
        pipe: Box<dyn Transport>,
        conversation: Conversation,
        inbox: mpsc::UnboundedReceiver<Request>,
        clock: Clock,
    ) -> Actor {
        let timer = clock.timer();
        let pace = Pace::new(pipe.bytes_per_second(), conversation.pacing(), clock.now());
        Actor {
            pipe,
            conversation,
            inbox,
            clock,
            timer,
            pace,
            told_to_close: None,
            failed: None,
            panicked: None,
            waker: None,
            listens: false,
        }
    }

    /// Goes on until nothing more can be done now, or the session is over: told to close, or the port lost.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(panic) = self.panicked.take() {
            resume_unwind(panic);
        }
        loop {
            if let Some(error) = self.failed.take() {
                return Poll::Ready(End::Lost(error));
            }
            if self.conversation.take_reopen() {
                return Poll::Ready(End::Reopen);
            }
            if let Some(why) = self.told_to_close.take() {
                return Poll::Ready(End::Closed(why));
            }
            let Poll::Ready(event) = self.poll_next(cx) else {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let now = self.clock.stamp();
            let has_read = matches!(event, Event::Heard(_));
            match event {
                Event::Asked(Some(Request::Close(why))) => return Poll::Ready(End::Closed(why)),
                Event::Asked(None) => return Poll::Ready(End::Closed(Closing::Forgotten)),
                Event::Asked(Some(request)) => self.conversation.request(request, now),
                Event::Heard(n) => self.heard(n, now),
                Event::Wrote(n) => self.conversation.wrote(n, now),
                Event::Due => self.pace.woken(now.moment),
                Event::Lost(error) => return Poll::Ready(End::Lost(error)),
            }
            if let Err(error) = self.advance(has_read.then_some(&mut *cx)) {
                return Poll::Ready(End::Lost(error));
            }
        }
    }

    /// In place of the task, on any thread: takes `job` in and does what can be done at once.
    pub fn ask_now(&mut self, job: Job) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_and_write(job))) {
            // It is the link's failure, not the asker's: the task will have it.
            self.panicked = Some(panic);
        }
        if self.needs_its_task()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn take_and_write(&mut self, job: Job) {
        let now = self.clock.stamp();
        self.read_mail(now);
        self.conversation.request(Request::Do(job), now);
        loop {
            if let Err(error) = self.advance(None) {
                self.failed = Some(error);
                return;
            }
            let Some(rest) = self.conversation.to_write(self.clock.now()) else { return };
            match self.poll_write(&mut Context::from_waker(Waker::noop()), &rest) {
                Poll::Ready(Ok(n)) => {
                    let now = self.clock.stamp();
                    self.conversation.wrote(n, now);
                }
                Poll::Ready(Err(error)) => {
                    self.hear_the_last();
                    self.failed = Some(error);
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    fn needs_its_task(&mut self) -> bool {
        let over = self.failed.is_some() || self.panicked.is_some() || self.told_to_close.is_some();
        let deaf = !self.listens && self.conversation.input.len() < self.conversation.most_unread();
        let over = over || self.conversation.is_to_reopen();
        let now = self.clock.now();
        let control = self.conversation.need(now).is_some();
        over || deaf
            || control
            || self.conversation.to_write(now).is_some()
            || self.next_deadline(now) < self.timer.alarm()
    }

    /// As of the `now` at which there was nothing to write: a gap that ends between two looks at the clock would be seen by neither.
    fn next_deadline(&mut self, now: Moment) -> Moment {
        self.conversation.next_deadline(now).min(self.pace.retry_at)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(request) = self.inbox.poll_recv(cx) {
            return Poll::Ready(Event::Asked(request));
        }
        self.listens = self.conversation.input.len() < self.conversation.most_unread();
        if self.listens
            && let Poll::Ready(read) = self.pipe.poll_read(cx, &mut self.conversation.input)
        {
            return Poll::Ready(read.map_or_else(Event::Lost, Event::Heard));
        }
        if let Poll::Ready(()) = self.poll_control(cx) {
            return Poll::Ready(Event::Due);
        }
        let now = self.clock.now();
        if let Some(rest) = self.conversation.to_write(now)
            && let Poll::Ready(wrote) = self.poll_write(cx, &rest)
        {
            return Poll::Ready(wrote.map_or_else(
                |error| {
                    self.hear_the_last();
                    Event::Lost(error)
                },
                Event::Wrote,
            ));
        }
        let deadline = self.next_deadline(now);
        self.timer.set(deadline);
        self.timer.poll_expired(cx).map(|()| Event::Due)
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, rest: &Bytes) -> Poll<io::Result<usize>> {
        let now = self.clock.now();
        let room = self.pace.room(now, &*self.pipe);
        let Some(chunk) = rest.get(..rest.len().min(room)).filter(|chunk| !chunk.is_empty()) else {
            return Poll::Pending;
        };
        let wrote = self.pipe.poll_write(cx, chunk);
        if let Poll::Ready(Ok(n)) = &wrote {
            self.pace.wrote(*n, now);
        }
        wrote
    }

    /// Does what is to be done with the line besides talking. Ready: something was.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.stamp();
        let need = self.conversation.need(now.moment);
        if !matches!(need, Some(Need::Do(_))) {
            // What was begun and is wanted no more must not answer whoever asks next.
            self.pipe.abandon_control();
        }
        match need {
            None => Poll::Pending,
            Some(Need::Empty) if self.conversation.has_output() => Poll::Pending,
            Some(Need::Empty) if self.pipe.queued_output() > 0 => {
                self.pace.look_again(now.moment);
                Poll::Pending
            }
            Some(Need::Empty) => {
                self.conversation.drained(now);
                Poll::Ready(())
            }
            Some(Need::Do(control)) => {
                let result = std::task::ready!(self.pipe.poll_control(cx, &control));
                self.pace.speed = self.pipe.bytes_per_second();
                self.conversation.controlled(result, self.clock.stamp());
                Poll::Ready(())
            }
        }
    }

    /// Bytes have come. What was asked before they were sent is in the mailbox by now, and is taken in first: a subscription gets
    /// everything from its creation on.
    fn heard(&mut self, n: usize, now: Stamp) {
        self.read_mail(now);
        self.conversation.read(n, now);
    }

    fn read_mail(&mut self, now: Stamp) {
        while let Ok(request) = self.inbox.try_recv() {
            match request {
                Request::Close(why) => self.told_to_close = Some(why),
                request => self.conversation.take_note(request, now),
            }
        }
    }

    /// A write fails where the port has gone; what it said before that is still worth hearing.
    fn hear_the_last(&mut self) {
        let now = self.clock.stamp();
        if let Ok(n) = self.pipe.read_now(&mut self.conversation.input)
            && n > 0
        {
            self.conversation.read(n, now);
        }
    }

    /// Does all that can be done without waiting. `has_read`: the task's turn, if what there was to read was read in it.
    fn advance(&mut self, mut has_read: Option<&mut Context<'_>>) -> io::Result<()> {
        let now = self.clock.stamp();
        loop {
            while !self.conversation.is_to_reopen() && self.conversation.next_turn(now).is_some() {
                // What is in the kernel by now was said before the question: it is not its answer.
                let input = &mut self.conversation.input;
                let n = match &mut has_read {
                    Some(cx) => self.pipe.read_rest(cx, input)?,
                    None => self.pipe.read_now(input)?,
                };
                if n > 0 {
                    self.heard(n, now);
                }
                if let Some(id) = self.conversation.next_turn(now) {
                    self.conversation.begin(id, now);
                }
            }
            self.conversation.expire(now);
            if self.conversation.cut(now) {
                self.pipe.discard_output();
                self.pace.empty_at = now.moment;
            }
            if self.conversation.take_discard() {
                self.pipe.discard_input();
            }
            // What has ended may have made way for somebody.
            if self.conversation.is_to_reopen() || self.conversation.next_turn(now).is_none() {
                break;
            }
        }
        self.conversation.show();
        Ok(())
    }

    /// Takes in what has been asked until now, so that it ends as everything else does; from now on asking fails.
    pub fn close_mailbox(&mut self, now: Stamp) {
        self.inbox.close();
        while let Ok(request) = self.inbox.try_recv() {
            self.conversation.take_note(request, now);
        }
    }

    /// Lets the line go, if that can be done until `deadline`.
    pub async fn end_break(&mut self, deadline: Moment) {
        let clock = self.clock.clone();
        let ended = poll_fn(|cx| self.pipe.poll_control(cx, &Control::Break(false)));
        // The port is closed next, whatever came of it.
        let _ = clock.until(deadline, ended).await;
    }

    /// Waits until what was written has left the machine, or `deadline`; what is left then is discarded.
    pub async fn drain(&mut self, deadline: Moment) {
        while self.pipe.queued_output() > 0 && self.clock.now() < deadline {
            self.clock.sleep(Duration::from_millis(5)).await;
        }
        self.pipe.discard_output();
    }

    /// Takes the pipe out; nothing comes from now on, and nothing goes.
    pub fn unplug(&mut self) -> Box<dyn Transport> {
        self.pace = Pace::new(None, self.conversation.pacing(), self.clock.now());
        std::mem::replace(&mut self.pipe, Box::new(Unplugged))
    }

    /// A new pipe, for now only for whoever readies it.
    pub fn plug(&mut self, pipe: Box<dyn Transport>, now: Stamp) {
        self.pace = Pace::new(pipe.bytes_per_second(), self.conversation.pacing(), now.moment);
        self.pipe = pipe;
        self.conversation.come_back(now);
    }

    /// Wakes its task, if it sleeps.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The pipe, for closing.
    pub fn into_pipe(self) -> Box<dyn Transport> {
        self.pipe
    }
}
