//! TCP servers: names are resolved on a thread, connecting is the runtime's.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use super::{Attempt, Later, Opener};
use crate::error::{OpenError, OpenKind};
use crate::transport::Opened;
use crate::transport::tcp::{TcpSettings, address, open_tcp, resolve};

/// A TCP server.
pub struct TcpServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How.
    pub settings: TcpSettings,
}

impl Opener for TcpServer {
    fn find<'a>(&'a self, _attempt: &'a Attempt) -> Later<'a, Result<(String, Option<u64>), OpenError>> {
        Box::pin(ready(Ok((format!("{}:{}", self.host, self.port), None))))
    }

    fn open<'a>(&'a self, _port: &'a str, attempt: &'a Attempt) -> Later<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let addresses = match address(&self.host, self.port) {
                Some(address) => vec![address],
                None => {
                    // The system's resolver blocks for as long as it likes; it may do so on a thread of its own, with a name.
                    let thread = format!("labtether-resolve-{}", attempt.name);
                    let (host, port) = (self.host.clone(), self.port);
                    attempt.on_thread(&thread, move || resolve(&host, port), drop).await?
                }
            };
            if let Some(tls) = self.settings.tls.as_ref().filter(|tls| !tls.is_ready()) {
                // Whom the system trusts is in files; and a tick of the runtime is no time to check a hundred certificates.
                let (thread, tls) = (format!("labtether-trust-{}", attempt.name), Arc::clone(tls));
                attempt.on_thread(&thread, move || tls.prepare(), drop).await?;
            }
            tokio::select! {
                biased;
                opened = open_tcp(&addresses, &self.settings) => opened,
                () = attempt.given_up.cancelled() => Err(OpenError::new(OpenKind::Refused, "given up")),
            }
        })
    }

    fn limit(&self) -> Duration {
        self.connect_timeout
    }
}
