//! The server's side of RFC 2217, around a connection that a host made: bytes of the line, and how the host has set it. What the words of
//! the protocol are is the `rfc2217` crate's business.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rfc2217::{DataBits, FlowControl, ModemState, Parity, PortSettings, Server, ServerEvent, StopBits};

use super::{HostSettings, Transport};

/// How much is unpacked at once.
const PIECE: usize = 4096;

/// See the module.
pub struct RemoteEnd {
    inner: Box<dyn Transport>,
    server: Server,
    /// As it comes from the host.
    raw: BytesMut,
    /// What is on its way to the host.
    out: BytesMut,
    payload: Box<[u8]>,
}

impl RemoteEnd {
    /// Around `inner`. The port behind it has its lines CTS, DSR and CD up, and says so: clients ask for that.
    pub fn around(inner: Box<dyn Transport>) -> RemoteEnd {
        let mut server = Server::new(PortSettings::default()).with_signature("labtether simulated port");
        // Said once the host has agreed to the protocol; there is room, as nothing was said yet.
        let _ = server.try_set_modem_state(ModemState::CTS | ModemState::DSR | ModemState::CD);
        let payload = vec![0; PIECE].into_boxed_slice();
        RemoteEnd { inner, server, raw: BytesMut::new(), out: BytesMut::new(), payload }
    }

    fn speak(&mut self) {
        while self.server.has_output() {
            let n = self.server.output().len();
            self.out.extend_from_slice(self.server.output());
            self.server.consume_output(n);
        }
    }

    /// Sends what is on its way. Ready: all of it is off.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(self.inner.poll_write(cx, &self.out))?;
            self.out.advance(n.min(self.out.len()));
        }
        Poll::Ready(Ok(()))
    }

    /// Unpacks what came; how many bytes of the line there were.
    fn unpack(&mut self, into: &mut BytesMut) -> usize {
        let before = into.len();
        while !self.raw.is_empty() {
            let progress = self.server.receive_into(&self.raw, &mut self.payload);
            into.extend_from_slice(self.payload.get(..progress.payload_len).unwrap_or_default());
            self.raw.advance(progress.consumed.min(self.raw.len()));
            while let Some(event) = self.server.poll_event() {
                if let ServerEvent::Purge(_) = event {
                    // What the instrument has not heard yet is gone, as from a real port's buffer.
                    into.truncate(before);
                }
            }
            self.speak();
            if progress.consumed == 0 {
                break;
            }
        }
        into.len() - before
    }
}

impl Transport for RemoteEnd {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.speak();
        loop {
            if let Poll::Ready(Err(gone)) = self.poll_sent(cx) {
                return Poll::Ready(Err(gone));
            }
            ready!(self.inner.poll_read(cx, &mut self.raw))?;
            let n = self.unpack(into);
            if let Poll::Ready(Err(gone)) = self.poll_sent(cx) {
                return Poll::Ready(Err(gone));
            }
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
        }
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        self.inner.read_now(&mut self.raw)?;
        Ok(self.unpack(into))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.speak();
        ready!(self.poll_sent(cx))?;
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..)
            && !rest.is_empty()
        {
            // Full: what it has is moved on first.
            taken += self.server.try_write_data(rest).unwrap_or(0);
            self.speak();
        }
        // What is not off yet goes with the next write or read.
        match self.poll_sent(cx) {
            Poll::Ready(Err(gone)) => Poll::Ready(Err(gone)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn queued_output(&self) -> usize {
        self.out.len() + self.inner.queued_output()
    }

    fn host_settings(&self) -> Option<HostSettings> {
        let settings = self.server.settings();
        Some(HostSettings {
            baudrate: settings.baud_rate,
            bytesize: match settings.data_bits {
                DataBits::Five => 5,
                DataBits::Six => 6,
                DataBits::Seven => 7,
                DataBits::Eight => 8,
            },
            parity: match settings.parity {
                Parity::None => 'N',
                Parity::Odd => 'O',
                Parity::Even => 'E',
                Parity::Mark => 'M',
                Parity::Space => 'S',
            },
            stopbits: match settings.stop_bits {
                StopBits::One => 1.0,
                StopBits::OnePointFive => 1.5,
                StopBits::Two => 2.0,
            },
            xonxoff: settings.flow_control == FlowControl::XonXoff,
            rtscts: settings.flow_control == FlowControl::RtsCts,
        })
    }

    fn discard_output(&mut self) {
        self.out.clear();
    }

    fn discard_input(&mut self) {
        self.inner.discard_input();
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn close(self: Box<Self>) {
        self.inner.close();
    }

    fn close_blocks(&self) -> bool {
        self.inner.close_blocks()
    }
}
