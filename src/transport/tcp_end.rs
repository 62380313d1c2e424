//! The instrument's side of TCP: a port of this machine that hosts connect to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::Transport;
use super::tcp::accepted;
use crate::descriptor::{Registered, register};

/// How many hosts may wait to be accepted.
const WAITING: i32 = 16;

/// Listens on this machine only.
pub struct Listening {
    // First, so that the number is out of the register before the descriptor is closed.
    _registered: Registered,
    listener: TcpListener,
}

impl Listening {
    /// On `port`; 0: any that is free. Call it inside a tokio runtime.
    ///
    /// *Errors*: somebody else listens there.
    pub fn on(port: u16) -> io::Result<Listening> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // The port that was just left can be had again.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(WAITING)?;
        let registered = register(&socket);
        Ok(Listening { _registered: registered, listener: TcpListener::from_std(socket.into())? })
    }

    /// The port it is.
    ///
    /// *Errors*: the system does not say.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// The next host that connects.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Transport>>> {
        let (stream, _from) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok(accepted(stream)))
    }
}
