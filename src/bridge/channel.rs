//! Channels of Python objects.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use super::errors::trouble;
use super::label::Label;
use super::operation::Operation;
use super::owner::{board, current};
use super::port::locally;
use super::whose::in_trio;
use super::work::{Value, Verdict, Work};
use crate::link::ticket::Answer;
use crate::sync::channel::{Channel, Receive, Sender, Sending};
use crate::sync::{Owner, Trouble};

type Item = Py<PyAny>;

/// See the module.
#[pyclass(frozen, weakref, name = "Channel", module = "labtether._core")]
pub(super) struct PyChannel(Arc<Channel<Item>>);

struct SendingWork {
    sending: Option<Sending<Item>>,
    cancelled: bool,
}

impl Work for SendingWork {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.cancelled {
            return Poll::Ready(Err(Trouble::Cancelled.into()));
        }
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(Value::Wire(Answer::Nothing))) };
        sending.poll(cx).map(|()| Ok(Value::Wire(Answer::Nothing)))
    }

    fn cancel(&mut self) {
        // What somebody has received already is sent: then the verdict says so.
        let taken_back = self.sending.as_mut().and_then(Sending::take_back);
        self.cancelled = taken_back.is_some();
        self.sending = None;
        drop(taken_back);
    }
}

struct ReceiveWork {
    receive: Receive<Item>,
    cancelled: bool,
}

impl Work for ReceiveWork {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.cancelled {
            return Poll::Ready(Err(Trouble::Cancelled.into()));
        }
        self.receive.poll(cx).map(|received| {
            let item = received?;
            Ok(Value::Made(Box::new(move |_| Ok(item))))
        })
    }

    fn cancel(&mut self) {
        self.receive.cancel();
        self.cancelled = true;
    }
}

fn sending(channel: &Arc<Channel<Item>>, item: Item, owner: Option<Owner>) -> Operation {
    let (label, channel) = (Label::of("sending to channel", channel.name()), channel.clone());
    Operation::new(
        label,
        true,
        Box::new(move || match channel.send(item, owner) {
            Ok(sending) => Ok(Box::new(SendingWork { sending: Some(sending), cancelled: false }) as Box<dyn Work>),
            Err((item, ended)) => {
                drop(item);
                Err(ended.into())
            }
        }),
    )
}

fn send_now(py: Python<'_>, channel: &Arc<Channel<Item>>, item: Item, owner: Option<Owner>) -> PyResult<()> {
    locally(py, || channel.send_now(item, owner))?.map_err(|(item, error)| {
        drop(item);
        trouble(py, &error)
    })
}

fn at_once(py: Python<'_>, channel: &Arc<Channel<Item>>, item: Item, owner: Option<Owner>) -> PyResult<bool> {
    match locally(py, || channel.send_now(item, owner))? {
        Ok(()) => Ok(true),
        Err((_, Trouble::Full { .. })) => Ok(false),
        Err((_, error)) => Err(trouble(py, &error)),
    }
}

#[pymethods]
impl PyChannel {
    #[new]
    fn new(name: &str, capacity: usize) -> PyChannel {
        PyChannel(Channel::new(board(), name, capacity))
    }

    /// Sends `item`, when there is room. Who runs is a sender from now on, until it ends.
    fn send(&self, py: Python<'_>, item: Item) -> PyResult<Operation> {
        Ok(sending(&self.0, item, current(py)?))
    }

    /// Sends `item`, if there is room.
    fn send_now(&self, py: Python<'_>, item: Item) -> PyResult<()> {
        send_now(py, &self.0, item, current(py)?)
    }

    /// Sends `item` if that needs neither a wait nor, in trio, a checkpoint. Whether it did.
    fn send_at_once(&self, py: Python<'_>, item: Item) -> PyResult<bool> {
        Ok(!in_trio(py)? && at_once(py, &self.0, item, current(py)?)?)
    }

    /// The next item if that needs neither a wait nor, in trio, a checkpoint; otherwise `otherwise`.
    fn receive_at_once(&self, py: Python<'_>, otherwise: Item) -> PyResult<Item> {
        if in_trio(py)? {
            return Ok(otherwise);
        }
        Ok(locally(py, || self.0.receive_now())?.unwrap_or(otherwise))
    }

    /// Waits for the next item.
    fn receive(&self) -> Operation {
        let channel = self.0.clone();
        Operation::new(
            Label::of("receiving from channel", self.0.name()),
            true,
            Box::new(move || {
                Ok(Box::new(ReceiveWork { receive: channel.receive(), cancelled: false }) as Box<dyn Work>)
            }),
        )
        .ordered()
    }

    /// The next item, if there is one.
    fn receive_now(&self, py: Python<'_>) -> PyResult<Item> {
        locally(py, || self.0.receive_now())?.map_err(|error| trouble(py, &error))
    }

    /// A sender: while it is open the channel does not end.
    fn sender(&self, py: Python<'_>) -> PyResult<PySender> {
        let sender = self.0.sender().map_err(|error| trouble(py, &error))?;
        Ok(PySender { channel: self.0.clone(), sender: Mutex::new(Some(sender)) })
    }

    /// Nothing more can be sent.
    fn close(&self) {
        self.0.close();
    }

    /// How things stand.
    fn view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let view = self.0.view();
        let dict = PyDict::new(py);
        dict.set_item("max_buffer_size", self.0.capacity())?;
        dict.set_item("current_buffer_used", view.used)?;
        dict.set_item("peak_buffer_used", view.counts.peak)?;
        dict.set_item("open_senders", view.senders)?;
        dict.set_item("tasks_waiting_send", view.sending)?;
        dict.set_item("tasks_waiting_receive", view.receiving)?;
        dict.set_item("sent", view.counts.sent)?;
        dict.set_item("received", view.counts.received)?;
        dict.set_item("ended", view.ended)?;
        Ok(dict)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut seen = Ok(());
        self.0.each(|item| {
            if seen.is_ok() {
                seen = visit.call(item);
            }
        });
        seen
    }

    fn __clear__(&self) {
        drop(self.0.clear());
    }
}

/// One that sends, and keeps the channel open.
#[pyclass(frozen, weakref, name = "Sender", module = "labtether._core")]
pub(super) struct PySender {
    channel: Arc<Channel<Item>>,
    sender: Mutex<Option<Sender<Item>>>,
}

#[pymethods]
impl PySender {
    /// Sends `item`, when there is room.
    fn send(&self, item: Item) -> Operation {
        sending(&self.channel, item, None)
    }

    /// Sends `item`, if there is room.
    fn send_now(&self, py: Python<'_>, item: Item) -> PyResult<()> {
        send_now(py, &self.channel, item, None)
    }

    /// Sends `item` if that needs neither a wait nor, in trio, a checkpoint. Whether it did.
    fn send_at_once(&self, py: Python<'_>, item: Item) -> PyResult<bool> {
        Ok(!in_trio(py)? && at_once(py, &self.channel, item, None)?)
    }

    /// Whether it is open.
    fn is_open(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// It sends no more.
    fn close(&self) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(sender);
    }
}
