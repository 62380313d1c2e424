//! What is asked of an RFC 2217 server besides carrying bytes, and what it answers: break, modem lines, other settings, throwing away.

use rfc2217::Purge;

use super::Remote;
use super::settings::{changed, refusals};
use crate::transport::control::{Control, ControlError, Controlled, ModemLines};

impl Remote {
    /// Asks for `control`.
    pub(super) fn begin(&mut self, control: &Control) -> Result<(), ControlError> {
        let unsupported = |why: String| Err(ControlError::Unsupported(why));
        if !self.is_active() {
            return unsupported(format!("{}: the server no longer speaks RFC 2217", control.word()));
        }
        match control {
            Control::Break(on) => self.hold(*on),
            Control::SetLines { dtr, rts } => self.set_lines(*dtr, *rts),
            Control::ReadLines => {}
            Control::Configure(change) => {
                let settings = changed(self.settings, change).map_err(ControlError::Unsupported)?;
                // It fits: everything that was said before has been moved out.
                let _ = self.client.try_set_port_settings(settings);
            }
            Control::WriteEof => return unsupported("write_eof: a serial line has no end".to_owned()),
        }
        self.speak();
        Ok(())
    }

    pub(super) fn hold(&mut self, on: bool) {
        if self.client.try_set_break(on).is_ok() {
            self.held.asked(on);
        }
        self.speak();
    }

    pub(super) fn set_lines(&mut self, dtr: Option<bool>, rts: Option<bool>) {
        if let Some(on) = dtr
            && self.client.try_set_dtr(on).is_ok()
        {
            self.dtr.asked(on);
        }
        if let Some(on) = rts
            && self.client.try_set_rts(on).is_ok()
        {
            self.rts.asked(on);
        }
        self.speak();
    }

    /// What came of `control`; `None` while the server has not said it.
    pub(super) fn answer_to(&mut self, control: &Control) -> Option<Result<Controlled, ControlError>> {
        let refused = match control {
            Control::ReadLines => return Some(Ok(Controlled::Lines(self.lines()))),
            _ if !self.is_active() => vec![format!("{}: the server no longer speaks RFC 2217", control.word())],
            Control::Configure(_) => {
                let refused = refusals(&self.client);
                if refused.is_empty() && !self.client.is_ready() {
                    return None;
                }
                if refused.is_empty() {
                    self.settings = self.client.requested_settings();
                } else {
                    // What it did take goes back to what it was, and with that nothing has changed.
                    let _ = self.client.try_set_port_settings(self.settings);
                    self.speak();
                }
                refused
            }
            Control::SetLines { .. } if self.dtr.is_owed() || self.rts.is_owed() => return None,
            Control::SetLines { dtr, rts } => {
                [self.dtr.refusal("dtr", *dtr), self.rts.refusal("rts", *rts)].into_iter().flatten().collect()
            }
            Control::Break(_) if self.held.is_owed() => return None,
            Control::Break(_) | Control::WriteEof => Vec::new(),
        };
        // Any answer shows that what was said before it has been dealt with, by a server that does not say that it has thrown input away.
        self.purges = 0;
        Some(if refused.is_empty() {
            Ok(Controlled::Done(Vec::new()))
        } else {
            Err(ControlError::Unsupported(refused.join("; ")))
        })
    }

    /// As the server last told; our own as it last confirmed them.
    fn lines(&self) -> ModemLines {
        let theirs = self.client.modem_state();
        ModemLines {
            cts: theirs.map(rfc2217::ModemState::cts),
            dsr: theirs.map(rfc2217::ModemState::dsr),
            ri: theirs.map(rfc2217::ModemState::ri),
            cd: theirs.map(rfc2217::ModemState::cd),
            dtr: self.dtr.last(),
            rts: self.rts.last(),
        }
    }

    pub(super) fn purge(&mut self, what: Purge) -> bool {
        let asked = self.client.try_purge(what).is_ok();
        self.speak();
        self.say_now();
        asked
    }
}
