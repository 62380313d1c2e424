//! What is done with an open port besides reading and writing: break, modem lines, other settings. Drivers may think about each for
//! seconds (a USB adapter is asked over its cable; a break waits for pending output), so each is an errand on a thread of its own.
//!
//! # Invariants
//! 1. One errand at a time. Its descriptor is a copy, which is gone with it: the port is closed after its errand has ended.
//! 2. A break that was begun for nobody is ended by whoever finds out first: the errand itself, or the port.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use tokio::sync::oneshot;

use super::{Aside, is_hung_up, line, or_hung_up};
use crate::descriptor::ioctl::{Line, levels, set_break, set_level};
use crate::descriptor::register;
use crate::error::OpenError;
use crate::transport::control::{Change, Control, ControlError, Controlled, ModemLines};

/// What came of it.
pub(super) type Outcome = Result<Controlled, ControlError>;

/// One control, on its way.
pub(super) struct Errand {
    control: Control,
    answer: oneshot::Receiver<Outcome>,
    /// Nothing is ever sent: it closes when nothing of it runs any more.
    over: Receiver<Infallible>,
    abandoned: Arc<AtomicBool>,
}

impl Errand {
    /// Sets out at once; after `before`, which it then waits for.
    ///
    /// *Errors*: there is no descriptor or no thread for it.
    pub(super) fn set_out(
        port: BorrowedFd<'_>,
        control: &Control,
        rtscts: bool,
        pseudo: bool,
        before: Option<Errand>,
        aside: &Aside,
    ) -> Result<Errand, ControlError> {
        let copy = fcntl_dupfd_cloexec(port, 0).map_err(|errno| trouble(control.word(), errno))?;
        let registered = register(&copy);
        let (tell, answer) = oneshot::channel();
        let (running, over) = channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let (wish, nobody) = (control.clone(), Arc::clone(&abandoned));
        let started = aside(Box::new(move || {
            let _running: Sender<Infallible> = running;
            if let Some(before) = before {
                before.wait();
            }
            // Whoever asked may have left together with the port.
            let _ = tell.send(carry_out(copy.as_fd(), &wish, rtscts, pseudo));
            // Told first, asked second; whoever abandons it does both the other way round, so one of the two sees it (invariant 2).
            if wish == Control::Break(true) && nobody.load(Ordering::SeqCst) {
                // A port that has gone is not in break.
                let _ = set_break(&copy, false);
            }
            drop(registered);
            drop(copy);
        }));
        started.map_err(|error| {
            ControlError::Unsupported(format!("{}: no thread to do it on: {error}", control.word()))
        })?;
        Ok(Errand { control: control.clone(), answer, over, abandoned })
    }

    /// Ready when it is done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_| {
                let panicked = format!("the thread that was to carry out {} panicked", self.control.word());
                Err(ControlError::Lost(io::Error::other(panicked)))
            })
        })
    }

    /// What it is about.
    pub(super) const fn control(&self) -> &Control {
        &self.control
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Nobody wants its answer. Returns whether the line may be in break by it: then that is the caller's to end.
    pub(super) fn abandon(&mut self) -> bool {
        self.abandoned.store(true, Ordering::SeqCst);
        self.control == Control::Break(true) && matches!(self.answer.try_recv(), Ok(Ok(_)))
    }

    /// Blocks until nothing of it runs any more.
    pub(super) fn wait(self) {
        let Err(_closed) = self.over.recv();
    }
}

/// What cannot be done, by name, or a port that has gone.
fn trouble(name: &str, errno: Errno) -> ControlError {
    let error = io::Error::from(errno);
    if is_hung_up(errno) {
        return ControlError::Lost(or_hung_up(error));
    }
    ControlError::Unsupported(match errno {
        Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP => format!("{name}: the device has none"),
        _ => format!("{name}: the driver does not do it: {error}"),
    })
}

fn carry_out(port: BorrowedFd<'_>, control: &Control, rtscts: bool, pseudo: bool) -> Outcome {
    match control {
        // Linux says that it is done, and does nothing (measured).
        Control::Break(true) if pseudo => {
            Err(ControlError::Unsupported("break: a pseudo-terminal has none".to_owned()))
        }
        Control::Break(on) => {
            set_break(port, *on).map_err(|errno| trouble("break", errno))?;
            Ok(Controlled::Done(Vec::new()))
        }
        Control::SetLines { dtr, rts } => set_lines(port, *dtr, *rts, rtscts, pseudo),
        Control::ReadLines => read_lines(port, pseudo),
        Control::Configure(change) => configure(port, change, pseudo),
        Control::WriteEof => {
            Err(ControlError::Unsupported("write_eof: a serial line has no end that could be written".to_owned()))
        }
    }
}

fn set_lines(port: BorrowedFd<'_>, dtr: Option<bool>, rts: Option<bool>, rtscts: bool, pseudo: bool) -> Outcome {
    for (name, line, level) in [("dtr", Line::Dtr, dtr), ("rts", Line::Rts, rts)] {
        let Some(on) = level else { continue };
        set_level(port, line, on).map_err(|errno| lineless(name, errno, pseudo))?;
    }
    let moved = rts.filter(|_| rtscts).map(|_| line::RTS_MOVES.to_owned());
    Ok(Controlled::Done(moved.into_iter().collect()))
}

fn read_lines(port: BorrowedFd<'_>, pseudo: bool) -> Outcome {
    let levels = levels(port).map_err(|errno| lineless("lines", errno, pseudo))?;
    let said = |line| Some(levels.of(line));
    Ok(Controlled::Lines(ModemLines {
        cts: said(Line::Cts),
        dsr: said(Line::Dsr),
        ri: said(Line::Ri),
        cd: said(Line::Cd),
        dtr: said(Line::Dtr),
        rts: said(Line::Rts),
    }))
}

fn lineless(name: &str, errno: Errno, pseudo: bool) -> ControlError {
    match trouble(name, errno) {
        ControlError::Unsupported(_) if pseudo => {
            ControlError::Unsupported(format!("{name}: a pseudo-terminal has no modem lines"))
        }
        trouble => trouble,
    }
}

fn configure(port: BorrowedFd<'_>, change: &Change, pseudo: bool) -> Outcome {
    let set = || -> Result<Vec<String>, OpenError> {
        line::check(change)?;
        let (change, notices) = if pseudo {
            line::without_uart(change)
        } else {
            line::supported(change)?;
            (change.clone(), Vec::new())
        };
        line::apply(port, &change, line::speed_of(pseudo)).map(|()| notices)
    };
    set().map(Controlled::Done).map_err(|error| match error.errno.map(Errno::from_raw_os_error) {
        Some(errno) if is_hung_up(errno) => ControlError::Lost(or_hung_up(errno.into())),
        _ => ControlError::Unsupported(error.why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Mutex;

    use rustix::pty::{OpenptFlags, openpt};

    type Work = Box<dyn FnOnce() + Send>;

    // A pseudo-terminal has neither, so that a UART's answers are only shown here.
    #[test]
    fn what_a_device_cannot_do_is_named_and_a_port_that_has_gone_is_lost() {
        let text = |errno| trouble("break", errno).to_string();
        assert_eq!(text(Errno::NOTTY), "break: the device has none");
        assert!(text(Errno::TIMEDOUT).starts_with("break: the driver does not do it: "));
        for errno in [Errno::IO, Errno::NXIO, Errno::NODEV] {
            assert!(matches!(trouble("dtr", errno), ControlError::Lost(_)));
            assert!(matches!(lineless("dtr", errno, true), ControlError::Lost(_)));
        }
        assert_eq!(lineless("dtr", Errno::NOTTY, false).to_string(), "dtr: the device has none");
    }

    // A pseudo-terminal says yes to a break and does nothing: who is to end it can be shown on one, the break itself cannot.
    #[test]
    fn a_break_that_nobody_wants_is_ended_by_exactly_who_finds_out() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let held: Arc<Mutex<Vec<Work>>> = Arc::default();
        let list = Arc::clone(&held);
        let aside: Aside = Arc::new(move |work| {
            list.lock().unwrap().push(work);
            Ok(())
        });
        let run = || held.lock().unwrap().drain(..).for_each(|work| work());
        let begin = || Errand::set_out(terminal.as_fd(), &Control::Break(true), false, false, None, &aside).unwrap();

        let mut early = begin();
        assert!(!early.abandon(), "the errand sees it itself");
        run();
        let mut late = begin();
        run();
        assert!(late.abandon(), "it is begun, and its errand is over");
        // What comes after it waits for its end.
        let after =
            Errand::set_out(terminal.as_fd(), &Control::Break(false), false, false, Some(late), &aside).unwrap();
        run();
        after.wait();
        early.wait();
    }
}
