//! What only some drivers can: handing over what has come at once, and moving RTS for two wires that are shared. Asked for, read back.
//!
//! Both stay with the port after it is closed, as the system keeps them; neither is ever switched off here.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::SerialSettings;
use crate::descriptor::ioctl::{Rs485, set_low_latency, set_rs485};
use crate::error::{OpenError, OpenKind};

/// What a pseudo-terminal does with them, before it is opened: in words, what is left out.
pub(super) fn without_driver(settings: &SerialSettings) -> Result<Option<String>, OpenError> {
    if settings.rs485.is_some() {
        // Whoever asks for it has two wires that are shared; that is not left out in silence, nor with a notice.
        return Err(OpenError::new(OpenKind::Unsupported, "rs485: a pseudo-terminal has no wires to share"));
    }
    let needless = "low_latency=True is left out: a pseudo-terminal hands over what has come at once anyway";
    Ok(settings.low_latency.then(|| needless.to_owned()))
}

/// Asks the driver for what was wished.
pub(super) fn ask(port: BorrowedFd<'_>, settings: &SerialSettings) -> Result<(), OpenError> {
    if settings.low_latency {
        hurried(set_low_latency(port))?;
    }
    settings.rs485.map_or(Ok(()), |wanted| shared(wanted, set_rs485(port, wanted)))
}

fn hurried(answer: Result<bool, Errno>) -> Result<(), OpenError> {
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_taken("low_latency=True", None)),
        Err(errno) => Err(not_taken("low_latency=True", Some(errno))),
    }
}

fn shared(wanted: Rs485, answer: Result<Option<Rs485>, Errno>) -> Result<(), OpenError> {
    match answer {
        Ok(Some(made)) if made == wanted => Ok(()),
        Ok(Some(made)) => Err(not_taken(&unlike(wanted, made), None)),
        Ok(None) => Err(not_taken("rs485", None)),
        Err(errno) => Err(not_taken("rs485", Some(errno))),
    }
}

fn not_taken(what: &str, errno: Option<Errno>) -> OpenError {
    let why = match errno {
        None => format!("{what}: the driver did not take it"),
        Some(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP) => format!("{what}: the driver of this port cannot do it"),
        Some(errno) => format!("{what}: the driver refuses it: {}", io::Error::from(errno)),
    };
    OpenError { kind: OpenKind::Unsupported, why, errno: errno.map(Errno::raw_os_error) }
}

/// What of `wanted` the driver left out, as it is written in Python.
fn unlike(wanted: Rs485, made: Rs485) -> String {
    let level = |name: &str, on: bool| format!("{name}={}", if on { "True" } else { "False" });
    let pause = |name: &str, ms: u32| format!("{name}={}", f64::from(ms) / 1000.0);
    let wrong = [
        (wanted.rts_on_send != made.rts_on_send).then(|| level("rts_on_send", wanted.rts_on_send)),
        (wanted.rts_after_send != made.rts_after_send).then(|| level("rts_after_send", wanted.rts_after_send)),
        (wanted.before_send != made.before_send).then(|| pause("delay_before_send", wanted.before_send)),
        (wanted.after_send != made.after_send).then(|| pause("delay_after_send", wanted.after_send)),
        (wanted.loopback != made.loopback).then(|| level("loopback", wanted.loopback)),
    ];
    format!("rs485 with {}", wrong.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::fd::AsFd;

    use rustix::pty::{OpenptFlags, openpt};

    const PLAIN: Rs485 =
        Rs485 { rts_on_send: true, rts_after_send: false, before_send: 0, after_send: 0, loopback: false };

    // A pseudo-terminal stands for a driver that has never heard of them.
    #[test]
    fn a_driver_that_cannot_is_an_error_by_name() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let why = |settings: &SerialSettings| {
            let error = ask(terminal.as_fd(), settings).unwrap_err();
            assert_eq!((error.kind, error.errno), (OpenKind::Unsupported, Some(Errno::NOTTY.raw_os_error())));
            error.why
        };
        let quick = SerialSettings { low_latency: true, ..SerialSettings::default() };
        assert_eq!(why(&quick), "low_latency=True: the driver of this port cannot do it");
        let shared = SerialSettings { rs485: Some(PLAIN), ..SerialSettings::default() };
        assert_eq!(why(&shared), "rs485: the driver of this port cannot do it");
        ask(terminal.as_fd(), &SerialSettings::default()).unwrap();
    }

    #[test]
    fn what_a_driver_leaves_out_is_named() {
        let wanted = Rs485 { before_send: 250, loopback: true, ..PLAIN };
        // Linux allows at most 100 ms.
        let less = Rs485 { before_send: 100, ..PLAIN };
        let why = |answer| shared(wanted, answer).unwrap_err().why;
        assert_eq!(why(Ok(Some(less))), "rs485 with delay_before_send=0.25, loopback=True: the driver did not take it");
        assert_eq!(why(Ok(None)), "rs485: the driver did not take it");
        shared(wanted, Ok(Some(wanted))).unwrap();
        hurried(Ok(true)).unwrap();
        assert_eq!(hurried(Ok(false)).unwrap_err().why, "low_latency=True: the driver did not take it");
        assert!(not_taken("rs485", Some(Errno::PERM)).why.starts_with("rs485: the driver refuses it: "));
    }
}
