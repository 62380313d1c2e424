//! A TCP connection as a byte pipe: connecting, and what its errors mean. How long one waits for it is decided elsewhere.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::control::{Control, ControlError, Controlled};
use super::tls::{Tls, encrypt, end_output};
use super::{Gives, Opened, Transport, no_line, output_ended, read_all_now};
use crate::descriptor::{Registered, register};
use crate::error::{OpenError, OpenKind};

const SCRATCH: usize = 16_384;

/// How a connection is set up.
#[derive(Clone, Debug)]
pub struct TcpSettings {
    /// Small pieces are sent at once: a command waits for its reply, so that nothing is coming that it could be sent together with.
    pub nodelay: bool,
    /// An instrument that is switched off says no goodbye: the system asks after this much silence, in whole seconds. `None`: never.
    pub keepalive: Option<Duration>,
    /// Encrypted, and with whom.
    pub tls: Option<Arc<Tls>>,
}

impl Default for TcpSettings {
    fn default() -> TcpSettings {
        TcpSettings { nodelay: true, keepalive: Some(Duration::from_secs(30)), tls: None }
    }
}

/// How often the system asks again, when it has asked in vain. It gives up after about nine times.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// A connected socket.
struct Tcp {
    // First, so that the number is out of the register before the descriptor is closed.
    _registered: Registered,
    stream: TcpStream,
    scratch: Box<[u8]>,
    /// The last read has taken all that there was.
    drained: bool,
    /// We have said that nothing more comes from us.
    ended: bool,
}

/// In brackets, an IPv6 address is written as in a URL.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The address that `host` is, if it is one and not a name.
pub fn address(host: &str, port: u16) -> Option<SocketAddr> {
    bare(host).parse().ok().map(|ip| SocketAddr::new(ip, port))
}

/// The addresses of `host`. Blocks for as long as the system's resolver takes: call it on a thread of its own.
///
/// *Errors*: `Missing` if the name does not resolve.
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, OpenError> {
    let unknown = |why: String| OpenError::new(OpenKind::Missing, format!("the host name does not resolve: {why}"));
    let addresses: Vec<SocketAddr> =
        (bare(host), port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?.collect();
    if addresses.is_empty() { Err(unknown("it has no address".to_owned())) } else { Ok(addresses) }
}

/// Connects to the first of `addresses` that answers. The caller limits the time.
///
/// *Cancel safety*: dropping the future drops the attempt.
///
/// *Errors*: the last attempt's: `Permission`, else `Refused`; but who answers, and does not come to terms about TLS, was the last.
pub async fn open_tcp(addresses: &[SocketAddr], settings: &TcpSettings) -> Result<Opened, OpenError> {
    let mut failure = OpenError::new(OpenKind::Missing, "there is no address to connect to");
    for &address in addresses {
        match connect(address, settings).await {
            Ok(stream) => {
                let registered = register(&stream);
                let (pipe, notice): (Box<dyn Transport>, _) = match &settings.tls {
                    Some(tls) => (encrypt(stream, registered, Arc::clone(tls)).await?, tls.notice()),
                    None => (Box::new(Tcp::new(stream, registered)), None),
                };
                let (port, notices) = (address.to_string(), notice.into_iter().collect());
                return Ok(Opened { pipe, port, device: None, notices });
            }
            Err(error) => failure = refusal(&error, address),
        }
    }
    Err(failure)
}

async fn connect(address: SocketAddr, settings: &TcpSettings) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(settings.nodelay)?;
    if let Some(silence) = settings.keepalive {
        let keepalive = TcpKeepalive::new().with_time(silence).with_interval(ASK_AGAIN.min(silence));
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(stream)
}

impl Tcp {
    fn new(stream: TcpStream, registered: Registered) -> Tcp {
        Tcp {
            _registered: registered,
            stream,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            drained: false,
            ended: false,
        }
    }
}

/// A connection that somebody made to us.
pub(super) fn accepted(stream: TcpStream) -> Box<dyn Transport> {
    let registered = register(&stream);
    // Without it a reply in two parts would wait for the host's acknowledgement of the first; if it cannot be had, it waits.
    let _ = stream.set_nodelay(true);
    Box::new(Tcp::new(stream, registered))
}

fn refusal(error: &io::Error, address: SocketAddr) -> OpenError {
    let errno = error.raw_os_error();
    let (kind, why) = match errno.map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED) => {
            (OpenKind::Refused, format!("{address} refused the connection: nothing listens on that port"))
        }
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN | Errno::HOSTDOWN) => {
            (OpenKind::Refused, format!("{address} cannot be reached from here: {error}"))
        }
        Some(Errno::TIMEDOUT) => (OpenKind::Refused, format!("{address} does not answer")),
        Some(Errno::ACCESS | Errno::PERM) => {
            (OpenKind::Permission, format!("this system does not allow connections to {address}: {error}"))
        }
        _ => (OpenKind::Refused, format!("connecting to {address} failed: {error}")),
    };
    OpenError { kind, why, errno }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the connection")
}

impl Transport for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut piece = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        if piece.filled().is_empty() {
            return Poll::Ready(Err(closed()));
        }
        into.extend_from_slice(piece.filled());
        let n = piece.filled().len();
        self.drained = n < SCRATCH;
        Poll::Ready(Ok(n))
    }

    fn read_rest(&mut self, _cx: &mut Context<'_>, into: &mut BytesMut) -> io::Result<usize> {
        if self.drained { Ok(0) } else { self.read_now(into) }
    }

    fn read_now(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        read_all_now(&self.stream, Gives::Whole, &mut self.scratch, |piece| into.extend_from_slice(piece))?
            .or_ended(closed)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(output_ended()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// The system sends it, however soon the socket is closed; nobody here has to wait for that.
    fn queued_output(&self) -> usize {
        0
    }

    fn discard_output(&mut self) {
        // What TCP has taken cannot be recalled.
    }

    fn discard_input(&mut self) {
        // An error here is met again by the next read.
        let _ = read_all_now(&self.stream, Gives::Whole, &mut self.scratch, |_| ());
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn poll_control(&mut self, _cx: &mut Context<'_>, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        if *control != Control::WriteEof {
            return Poll::Ready(Err(no_line(control)));
        }
        self.ended = true;
        Poll::Ready(match end_output(&self.stream) {
            Ok(()) => Ok(Controlled::Done(Vec::new())),
            Err(error) => Err(ControlError::Lost(error)),
        })
    }

    fn close(mut self: Box<Self>) {
        // A socket that is closed with bytes unread resets the connection, and then the other side may not get our last words.
        let _ = end_output(&self.stream);
        self.discard_input();
    }

    fn close_blocks(&self) -> bool {
        false
    }
}
