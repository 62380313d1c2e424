//! A serial port as a byte pipe, on tokio-serial. What its settings mean to the system is in `serial/line.rs`, why it did not open in
//! `serial/explain.rs`, what only some drivers can in `serial/extras.rs`, how breaks, lines and other settings are done in `serial/errand.rs`. Nobody waits for bytes here: no timeouts, no messages.
//!
//! # Invariants
//! 1. Neither flushed nor shut down: both wait, on the runtime's thread, for as long as the line is held.
//! 2. Whichever way it goes, pending output is discarded and the port unlocked before the descriptor is closed: the first so that closing
//!    does not wait for a held line, the second because a forked child may have a copy, and the lock is on both.
//! 3. The port is opened once. Every opening raises DTR, which resets some instruments.

mod errand;
mod explain;
mod extras;
mod line;

use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, ioctl_tiocnxcl, tcflush};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio_serial::{SerialPort, SerialStream};

use super::control::{Change, Control, ControlError, Controlled};
use super::{Aside, Gives, MOST_NOW, Opened, Transport, read_all_now};
use crate::descriptor::ioctl::set_break;
use crate::descriptor::{Registered, of_serial, register};
use crate::error::{OpenError, OpenKind};
use errand::Errand;

/// The parity bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Parity {
    None,
    Even,
    Odd,
    Mark,
    Space,
}

/// How many stop bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum StopBits {
    One,
    OnePointFive,
    Two,
}

pub use crate::descriptor::ioctl::Rs485;

/// How a serial port is set, in pyserial's words.
#[derive(Clone, Debug)]
pub struct SerialSettings {
    /// Bits per second.
    pub baudrate: u32,
    /// Data bits, 5 to 8.
    pub bytesize: u8,
    /// The parity bit.
    pub parity: Parity,
    /// Stop bits.
    pub stopbits: StopBits,
    /// Flow control by characters.
    pub xonxoff: bool,
    /// Flow control by the lines RTS and CTS.
    pub rtscts: bool,
    /// Flow control by the lines DTR and DSR.
    pub dsrdtr: bool,
    /// Nobody else may open it meanwhile.
    pub exclusive: bool,
    /// The line DTR after opening; `None` leaves it as it is.
    pub dtr: Option<bool>,
    /// The line RTS after opening; `None` leaves it as it is.
    pub rts: Option<bool>,
    /// The driver hands over what has come at once; false leaves it as it is.
    pub low_latency: bool,
    /// The driver moves RTS, for a line that is shared; `None` leaves it as it is.
    pub rs485: Option<Rs485>,
}

impl Default for SerialSettings {
    /// 9600 8N1, no flow control, nobody else.
    fn default() -> SerialSettings {
        SerialSettings {
            baudrate: 9600,
            bytesize: 8,
            parity: Parity::None,
            stopbits: StopBits::One,
            xonxoff: false,
            rtscts: false,
            dsrdtr: false,
            exclusive: true,
            dtr: None,
            rts: None,
            low_latency: false,
            rs485: None,
        }
    }
}

/// The number of the device at `path`, links followed, if there is one. Looks, does not open.
pub fn device_number(path: &str) -> Option<u64> {
    let found = fs::metadata(path).ok()?;
    found.file_type().is_char_device().then(|| found.rdev())
}

/// Opens the port at `path`, registered with `runtime`. Blocks, with some drivers for seconds, so it wants a thread of its own; `aside`
/// gives one to what is done with the open port and may block as well.
///
/// *Errors*: all kinds but `Ambiguous`; the text says what to do about it.
pub fn open_serial(
    path: &str,
    settings: &SerialSettings,
    runtime: &tokio::runtime::Handle,
    aside: Aside,
) -> Result<Opened, OpenError> {
    let wanted = Change::to(settings);
    line::check(&wanted)?;
    let found = fs::metadata(path).map_err(|error| explain::failure(path, &error))?;
    if !found.file_type().is_char_device() {
        return Err(explain::not_a_terminal(&found));
    }
    let device = found.rdev();
    let pseudo = line::is_pseudo_terminal(path, device);
    let (settings, notices) = if pseudo { without_uart(settings)? } else { with_uart(settings)? };
    let opened = {
        let _inside = runtime.enter();
        SerialStream::open(&line::builder(path, &settings, pseudo))
    };
    let stream = opened.map_err(|error| explain::refusal(path, settings.exclusive, &error))?;
    let mut serial = Serial::new(stream, settings, pseudo, aside);
    line::apply(of_serial(&serial.stream), &Change::to(&serial.settings), line::Speed::Set)?;
    extras::ask(of_serial(&serial.stream), &serial.settings)?;
    serial.set_lines()?;
    let port = fs::canonicalize(path).map_or_else(|_| path.to_owned(), |path| path.to_string_lossy().into_owned());
    Ok(Opened { pipe: Box::new(serial), port, device: Some(device), notices })
}

/// The settings for a pseudo-terminal, and in words what it cannot take.
fn without_uart(settings: &SerialSettings) -> Result<(SerialSettings, Vec<String>), OpenError> {
    let needless = extras::without_driver(settings)?;
    let (left, mut notices) = line::without_uart(&Change::to(settings));
    for (given, setting) in [(settings.dtr.is_some(), "dtr"), (settings.rts.is_some(), "rts")] {
        if given {
            notices.push(format!("{setting} is left out: a pseudo-terminal has no modem lines"));
        }
    }
    notices.extend(needless);
    Ok((SerialSettings { dtr: None, rts: None, low_latency: false, ..left.of(settings) }, notices))
}

fn with_uart(settings: &SerialSettings) -> Result<(SerialSettings, Vec<String>), OpenError> {
    line::supported(&Change::to(settings))?;
    let moved = settings.rts.filter(|_| settings.rtscts).map(|_| line::RTS_MOVES.to_owned());
    Ok((settings.clone(), moved.into_iter().collect()))
}

/// More than a terminal gives out at once.
const SCRATCH: usize = 4096;

/// An open port.
struct Serial {
    // First, so that the number is out of the register before the descriptor is closed.
    _registered: Registered,
    stream: SerialStream,
    scratch: Box<[u8]>,
    /// Those in force.
    settings: SerialSettings,
    pseudo: bool,
    /// The last write found no room.
    full: bool,
    aside: Aside,
    errand: Option<Errand>,
    /// The line is held in break.
    breaking: bool,
}

impl Serial {
    fn new(stream: SerialStream, settings: SerialSettings, pseudo: bool, aside: Aside) -> Serial {
        Serial {
            _registered: register(of_serial(&stream)),
            stream,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            settings,
            pseudo,
            full: false,
            aside,
            errand: None,
            breaking: false,
        }
    }

    fn set_lines(&mut self) -> Result<(), OpenError> {
        let failed = |name: &str, error: tokio_serial::Error| {
            OpenError::new(OpenKind::Unsupported, format!("{name}: the device cannot set this line ({error})"))
        };
        if let Some(level) = self.settings.dtr {
            self.stream.write_data_terminal_ready(level).map_err(|error| failed("dtr", error))?;
        }
        if let Some(level) = self.settings.rts {
            self.stream.write_request_to_send(level).map_err(|error| failed("rts", error))?;
        }
        Ok(())
    }

    fn set_out(&mut self, control: &Control, before: Option<Errand>) -> Result<(), ControlError> {
        let (port, rtscts) = (of_serial(&self.stream), self.settings.rtscts);
        self.errand = Some(Errand::set_out(port, control, rtscts, self.pseudo, before, &self.aside)?);
        Ok(())
    }

    /// What changes when `errand` has been carried out.
    fn note(&mut self, errand: &Errand) {
        match errand.control() {
            Control::Configure(change) => {
                let taken = if self.pseudo { line::without_uart(change).0 } else { change.clone() };
                self.settings = taken.of(&self.settings);
            }
            // One that was abandoned has been ended again.
            Control::Break(on) => self.breaking = *on && !errand.is_abandoned(),
            _ => {}
        }
    }
}

/// The system says end of file, EIO or "no such device" for the same thing.
fn hung_up() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the device hung up: unplugged, or the other side of the pseudo-terminal closed",
    )
}

fn is_hung_up(errno: Errno) -> bool {
    matches!(errno, Errno::IO | Errno::NXIO | Errno::NODEV)
}

fn or_hung_up(error: io::Error) -> io::Error {
    if error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(is_hung_up) { hung_up() } else { error }
}

impl Transport for Serial {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut piece = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece)).map_err(or_hung_up)?;
        if piece.filled().is_empty() {
            return Poll::Ready(Err(hung_up()));
        }
        into.extend_from_slice(piece.filled());
        Poll::Ready(Ok(piece.filled().len()))
    }

    fn read_rest(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> io::Result<usize> {
        // A terminal gives out its input in parts, so it is asked: by way of tokio, which does ask after a read that gave something, and
        // then knows that there is nothing more. Were the task's budget used up, it would not ask.
        let before = into.len();
        while into.len() < before + MOST_NOW {
            match pin!(unconstrained(poll_fn(|cx| self.poll_read(cx, into)))).poll(cx) {
                Poll::Ready(Ok(_)) => {}
                // It is there to stay, and met again by the next read.
                Poll::Ready(Err(_)) if into.len() > before => break,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(into.len() - before)
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let terminal = of_serial(&self.stream);
        read_all_now(terminal, Gives::Parts, &mut self.scratch, |piece| into.extend_from_slice(piece))
            .map_err(or_hung_up)?
            .or_ended(hung_up)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Tried without asking tokio: nothing wakes a writer when output is discarded (Linux, pseudo-terminals), so tokio may still think
        // that there is no room.
        let wrote = loop {
            match rustix::io::write(of_serial(&self.stream), bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.full = true;
                    break ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
                }
                wrote => break wrote.map_err(io::Error::from),
            }
        };
        let n = wrote.map_err(or_hung_up)?;
        if n == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::WriteZero, "the driver takes no more bytes")));
        }
        self.full = false;
        Poll::Ready(Ok(n))
    }

    fn queued_output(&self) -> usize {
        // A port that has gone has nothing queued.
        self.stream.bytes_to_write().map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn discard_output(&mut self) {
        // What a pseudo-terminal takes has left: it is on its way into the other side's input. Flushing that would lose the last words of
        // a link that is closed right after them (measured on Linux: one time in four), so it is for a side that does not read.
        if !self.pseudo || self.full {
            // A port that has gone has nothing to discard.
            let _ = tcflush(of_serial(&self.stream), QueueSelector::OFlush);
        }
    }

    fn discard_input(&mut self) {
        // A port that has gone says so to the next read.
        let _ = tcflush(of_serial(&self.stream), QueueSelector::IFlush);
    }

    fn bytes_per_second(&self) -> Option<f64> {
        (!self.pseudo).then(|| line::bytes_per_second(&self.settings))
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        loop {
            let Some(mut errand) = self.errand.take() else {
                if let Err(error) = self.set_out(control, None) {
                    return Poll::Ready(Err(error));
                }
                continue;
            };
            let Poll::Ready(outcome) = errand.poll(cx) else {
                self.errand = Some(errand);
                return Poll::Pending;
            };
            if outcome.is_ok() {
                self.note(&errand);
            }
            if errand.control() == control && !errand.is_abandoned() {
                return Poll::Ready(outcome);
            }
            // Whoever began that break has left without a word.
            if self.breaking && *errand.control() == Control::Break(true) {
                let ended = self.set_out(&Control::Break(false), Some(errand));
                if let Err(error) = ended {
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn abandon_control(&mut self) {
        if let Some(mut errand) = self.errand.take_if(|errand| !errand.is_abandoned()) {
            if errand.abandon() {
                // If even that cannot be started, closing the port ends the break.
                self.breaking = true;
                let _ = self.set_out(&Control::Break(false), Some(errand));
            } else {
                self.errand = Some(errand);
            }
        }
    }

    fn close(mut self: Box<Self>) {
        // What waits for the output to leave, waits no longer.
        self.discard_output();
        if let Some(mut errand) = self.errand.take() {
            self.breaking |= errand.abandon();
            errand.wait();
        }
        if self.breaking {
            // One that has gone is not in break.
            let _ = set_break(of_serial(&self.stream), false);
        }
        // Dropping it does the rest.
    }

    fn close_blocks(&self) -> bool {
        true
    }
}

impl Drop for Serial {
    /// Invariant 2. Each fails where the port has gone, and then there is nothing to do.
    fn drop(&mut self) {
        self.discard_output();
        let port = of_serial(&self.stream);
        if self.settings.exclusive {
            let _ = ioctl_tiocnxcl(port);
        }
        let _ = flock(port, FlockOperation::Unlock);
    }
}
