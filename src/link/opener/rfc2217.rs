//! Serial ports of other machines: a TCP connection, and a session on it. Both within one limit.

use std::time::Duration;

use super::{Attempt, Later, Opener, TcpServer};
use crate::error::{OpenError, OpenKind, Seconds};
use crate::transport::Opened;
use crate::transport::rfc2217::open_rfc2217;
use crate::transport::serial::SerialSettings;

/// An RFC 2217 server. The connection's limit is that of the whole opening.
pub struct Rfc2217Server {
    /// Where it listens.
    pub server: TcpServer,
    /// How its port is to be set.
    pub settings: SerialSettings,
}

/// What an opening that is over tells of why; longer than that, and the session says only that time is up.
const TO_SAY_WHY: Duration = Duration::from_millis(500);

impl Opener for Rfc2217Server {
    fn find<'a>(&'a self, attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        self.server.find(attempt)
    }

    fn open<'a>(&'a self, port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let (clock, limit) = (attempt.place.clock(), self.server.connect_timeout);
            let deadline = clock.now() + limit;
            let silent = || OpenError::new(OpenKind::Refused, format!("no answer within {} s", Seconds(limit)));
            let to = clock.until(deadline, self.server.open(port, attempt)).await.ok_or_else(silent)??;
            tokio::select! {
                biased;
                opened = open_rfc2217(to, &self.settings, clock, deadline, limit) => opened,
                () = attempt.given_up.cancelled() => Err(OpenError::new(OpenKind::Refused, "given up")),
            }
        })
    }

    fn limit(&self) -> Duration {
        self.server.connect_timeout.saturating_add(TO_SAY_WHY)
    }
}
