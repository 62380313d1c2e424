//! How a session with an RFC 2217 server begins: it agrees to speak it, takes every setting, sets the lines; or says which of these not.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rfc2217::NotReady;

use super::settings::{port_settings, refusals, unanswered};
use super::{Remote, Transport};
use crate::clock::{Clock, Moment};
use crate::error::{OpenError, OpenKind, Seconds, Shown};
use crate::transport::Opened;
use crate::transport::serial::SerialSettings;

/// How much of what was heard instead an error shows.
const HEARD: usize = 60;

/// Makes the open pipe `to` a session with the RFC 2217 server at its other end, every setting confirmed, by `deadline`; `limit` is how long
/// that was, for messages. What comes of the line meanwhile is kept. `settings.exclusive` means nothing here.
///
/// *Cancel safety*: dropping the future drops the connection.
///
/// *Errors*: `Refused` if the server does not speak RFC 2217 or hangs up, `InUse` if it says that, `Unsupported` with every setting that it
/// refuses.
pub async fn open_rfc2217(
    to: Opened,
    settings: &SerialSettings,
    clock: &Clock,
    deadline: Moment,
    limit: Duration,
) -> Result<Opened, OpenError> {
    let wanted = port_settings(settings).map_err(|why| OpenError::new(OpenKind::Unsupported, why))?;
    let mut opening = Opening { remote: Remote::new(to.pipe, wanted), settings, lines_asked: false };
    match clock.until(deadline, poll_fn(|cx| opening.poll(cx))).await {
        Some(Ok(())) => Ok(Opened { pipe: Box::new(opening.remote), ..to }),
        Some(Err(error)) => Err(opening.give_up(error)),
        None => {
            let error = opening.too_late(limit);
            Err(opening.give_up(error))
        }
    }
}

struct Opening<'a> {
    remote: Remote,
    settings: &'a SerialSettings,
    lines_asked: bool,
}

impl Opening<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        loop {
            let said = self.remote.poll_said(cx).map_err(|error| self.lost(&error))?;
            if self.is_done()? {
                return said.map(|()| Ok(()));
            }
            if !self.remote.out.is_empty() && said.is_ready() {
                continue;
            }
            ready!(self.remote.poll_heard(cx)).map_err(|error| self.lost(&error))?;
        }
    }

    /// Whether all is as it was asked; asks for what is next.
    fn is_done(&mut self) -> Result<bool, OpenError> {
        if self.remote.echoes {
            return Err(refused(
                "it sends back what it is sent: this is no RFC 2217 server, but the port of a device that echoes",
            ));
        }
        match self.remote.client.readiness() {
            Ok(()) => {}
            Err(NotReady::Refused) => {
                return Err(refused("it speaks Telnet, but refuses RFC 2217 (Telnet COM Port Control)"));
            }
            Err(NotReady::Mismatched(_)) => {
                return Err(OpenError::new(OpenKind::Unsupported, refusals(&self.remote.client).join("; ")));
            }
            Err(_) => return Ok(false),
        }
        let (dtr, rts) = (self.settings.dtr, self.settings.rts);
        if !self.lines_asked {
            self.lines_asked = true;
            self.remote.set_lines(dtr, rts);
        }
        if self.remote.dtr.is_owed() || self.remote.rts.is_owed() {
            return Ok(false);
        }
        match self.remote.dtr.refusal("dtr", dtr).or_else(|| self.remote.rts.refusal("rts", rts)) {
            Some(why) => Err(OpenError::new(OpenKind::Unsupported, why)),
            None => Ok(true),
        }
    }

    fn too_late(&self, limit: Duration) -> OpenError {
        let limit = Seconds(limit);
        match self.remote.client.readiness() {
            Err(NotReady::Negotiating | NotReady::Refused) => refused(format!(
                "it does not answer the offer of RFC 2217 within {limit} s{}; is this a raw TCP port? Then it is tcp://",
                self.heard()
            )),
            Err(_) => {
                let unanswered = unanswered(&self.remote.client).join("; ");
                OpenError::new(OpenKind::Unsupported, format!("{unanswered} within {limit} s"))
            }
            Ok(()) => {
                let lines = [("dtr", &self.remote.dtr), ("rts", &self.remote.rts)];
                let owed: Vec<&str> = lines.iter().filter(|(_, line)| line.is_owed()).map(|(name, _)| *name).collect();
                let why = format!("{}: the server did not confirm it within {limit} s", owed.join(", "));
                OpenError::new(OpenKind::Unsupported, why)
            }
        }
    }

    /// The connection ended.
    fn lost(&mut self, error: &io::Error) -> OpenError {
        // A write fails where nobody reads any more; what was said before that is still worth hearing.
        let _ = self.remote.inner.read_now(&mut self.remote.raw);
        self.remote.understand();
        // ser2net says so in words, and hangs up.
        let in_use = self.remote.inbox.to_ascii_lowercase().windows(6).any(|words| words == b"in use");
        let kind = if in_use { OpenKind::InUse } else { OpenKind::Refused };
        let why = format!("it ended the connection before the port was set up: {error}{}", self.heard());
        OpenError { kind, why, errno: error.raw_os_error() }
    }

    fn heard(&self) -> String {
        let heard = self.remote.inbox.get(..HEARD).unwrap_or(&self.remote.inbox);
        if heard.is_empty() { String::new() } else { format!(" (it said {})", Shown(heard)) }
    }

    fn give_up(self, error: OpenError) -> OpenError {
        Box::new(self.remote).close();
        error
    }
}

fn refused(why: impl Into<String>) -> OpenError {
    OpenError::new(OpenKind::Refused, why)
}
