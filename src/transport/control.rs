//! What can be done with a line besides reading and writing. Data only; what a device cannot do it says by name.

use thiserror::Error;

use super::serial::{Parity, SerialSettings, StopBits};

/// Something to be done with a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// Begin to hold the line in break, or let it go. Whoever begins also ends it: the wait between is the actor's.
    Break(bool),
    /// Set the lines that are given.
    SetLines {
        /// Data terminal ready.
        dtr: Option<bool>,
        /// Request to send.
        rts: Option<bool>,
    },
    /// What the lines say.
    ReadLines,
    /// Other settings. The actor has waited for the output to leave.
    Configure(Change),
    /// Nothing more will be written: the other side reads the end of the stream.
    WriteEof,
}

impl Control {
    /// In words, for messages.
    pub const fn word(&self) -> &'static str {
        match self {
            Control::Break(_) => "send_break",
            Control::SetLines { .. } => "set_lines",
            Control::ReadLines => "lines",
            Control::Configure(_) => "configure",
            Control::WriteEof => "write_eof",
        }
    }
}

/// New settings; `None` leaves one as it is.
#[expect(missing_docs, reason = "the fields are those of SerialSettings")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub baudrate: Option<u32>,
    pub bytesize: Option<u8>,
    pub parity: Option<Parity>,
    pub stopbits: Option<StopBits>,
    pub xonxoff: Option<bool>,
    pub rtscts: Option<bool>,
    pub dsrdtr: Option<bool>,
}

impl Change {
    /// All of `settings`.
    pub fn to(settings: &SerialSettings) -> Change {
        Change {
            baudrate: Some(settings.baudrate),
            bytesize: Some(settings.bytesize),
            parity: Some(settings.parity),
            stopbits: Some(settings.stopbits),
            xonxoff: Some(settings.xonxoff),
            rtscts: Some(settings.rtscts),
            dsrdtr: Some(settings.dsrdtr),
        }
    }

    /// `settings`, with what is given here.
    #[must_use]
    pub fn of(&self, settings: &SerialSettings) -> SerialSettings {
        SerialSettings {
            baudrate: self.baudrate.unwrap_or(settings.baudrate),
            bytesize: self.bytesize.unwrap_or(settings.bytesize),
            parity: self.parity.unwrap_or(settings.parity),
            stopbits: self.stopbits.unwrap_or(settings.stopbits),
            xonxoff: self.xonxoff.unwrap_or(settings.xonxoff),
            rtscts: self.rtscts.unwrap_or(settings.rtscts),
            dsrdtr: self.dsrdtr.unwrap_or(settings.dsrdtr),
            ..settings.clone()
        }
    }
}

/// The lines of a serial port, as they are now. `None`: the device does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModemLines {
    /// Clear to send.
    pub cts: Option<bool>,
    /// Data set ready.
    pub dsr: Option<bool>,
    /// Ring indicator.
    pub ri: Option<bool>,
    /// Carrier detect.
    pub cd: Option<bool>,
    /// Data terminal ready: ours.
    pub dtr: Option<bool>,
    /// Request to send: ours.
    pub rts: Option<bool>,
}

/// What came of a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controlled {
    /// It is done; with what had to be left out, one sentence each.
    Done(Vec<String>),
    /// The lines.
    Lines(ModemLines),
}

/// Why a control was not carried out.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The device cannot do this: which setting or line, and why.
    #[error("{0}")]
    Unsupported(String),
    /// The port has gone.
    #[error("{0}")]
    Lost(std::io::Error),
}
