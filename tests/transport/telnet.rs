//! The far side of an RFC 2217 session, by hand: it shares no code with what is tested, and is as awkward as it is told to be.

use labtether::clock::Clock;
use labtether::error::OpenError;
use labtether::transport::Opened;
use labtether::transport::memory::memory_pipe;
use labtether::transport::rfc2217::open_rfc2217;
use labtether::transport::serial::SerialSettings;
use std::time::Duration;

use crate::{Pipe, read, write};

pub(crate) const IAC: u8 = 255;
pub(crate) const DONT: u8 = 254;
pub(crate) const DO: u8 = 253;
pub(crate) const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
/// The number of RFC 2217 among the options of Telnet.
pub(crate) const COM_PORT: u8 = 44;

/// One thing that was said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Byte(u8),
    /// DO, WILL and so on, and for what.
    Option(u8, u8),
    /// A command of RFC 2217, and its value.
    Command(u8, Vec<u8>),
}

pub(crate) struct Far {
    pipe: Pipe,
    heard: Vec<u8>,
    /// Every command and its value.
    pub(crate) commands: Vec<(u8, Vec<u8>)>,
    /// Every byte of the line.
    pub(crate) bytes: Vec<u8>,
}

/// A pipe that holds so many bytes, and who is at its far end. One byte: whatever is said comes in pieces of one.
pub(crate) fn pipes(clock: &Clock, capacity: usize) -> (Opened, Far) {
    let (near, far) = memory_pipe(clock, capacity);
    let opened = Opened { pipe: Box::new(near), port: "far:2217".to_owned(), device: None, notices: Vec::new() };
    (opened, Far { pipe: Box::new(far), heard: Vec::new(), commands: Vec::new(), bytes: Vec::new() })
}

/// An open session, through a pipe that holds so many bytes.
pub(crate) async fn session(capacity: usize) -> (Pipe, Far) {
    let (near, mut far) = pipes(&Clock::real(), capacity);
    let settings = SerialSettings::default();
    let (opened, ()) = tokio::join!(open(near, &settings), far.agree());
    (opened.unwrap().pipe, far)
}

pub(crate) async fn open(to: Opened, settings: &SerialSettings) -> Result<Opened, OpenError> {
    let (clock, limit) = (Clock::real(), Duration::from_secs(5));
    open_rfc2217(to, settings, &clock, clock.now() + limit, limit).await
}

pub(crate) fn command(code: u8, value: &[u8]) -> Vec<u8> {
    [&[IAC, SB, COM_PORT, code], escaped(value).as_slice(), &[IAC, SE]].concat()
}

pub(crate) fn escaped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|&byte| if byte == IAC { vec![IAC, IAC] } else { vec![byte] }).collect()
}

impl Far {
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        write(&mut self.pipe, bytes).await;
    }

    pub(crate) async fn say_command(&mut self, code: u8, value: &[u8]) {
        self.say(&command(code, value)).await;
    }

    /// The next thing that is said, whole.
    pub(crate) async fn hear(&mut self) -> Said {
        loop {
            if let Some((said, length)) = first(&self.heard) {
                self.heard.drain(..length);
                match &said {
                    Said::Byte(byte) => self.bytes.push(*byte),
                    Said::Command(code, value) => self.commands.push((*code, value.clone())),
                    Said::Option(..) => {}
                }
                return said;
            }
            let more = read(&mut self.pipe).await.unwrap();
            self.heard.extend(more);
        }
    }

    pub(crate) async fn hear_bytes(&mut self, n: usize) -> Vec<u8> {
        self.bytes.clear();
        while self.bytes.len() < n {
            self.hear().await;
        }
        self.bytes.clone()
    }

    /// Hears up to a command with that code; its value.
    pub(crate) async fn hear_command(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            if let Said::Command(code, value) = self.hear().await
                && code == wanted
            {
                return value;
            }
        }
    }

    /// Agrees to speak RFC 2217.
    pub(crate) async fn accept(&mut self) {
        while self.hear().await != Said::Option(WILL, COM_PORT) {}
        self.say(&[IAC, DO, COM_PORT]).await;
    }

    /// Confirms the five settings, but for what `other` says of a command.
    pub(crate) async fn confirm(&mut self, other: impl Fn(u8) -> Option<Vec<u8>>) {
        for _ in 0..5 {
            let Said::Command(code, value) = self.next_command().await else { unreachable!() };
            self.say_command(code + 100, &other(code).unwrap_or(value)).await;
        }
    }

    pub(crate) async fn agree(&mut self) {
        self.accept().await;
        self.confirm(|_| None).await;
    }

    async fn next_command(&mut self) -> Said {
        loop {
            let said = self.hear().await;
            if matches!(said, Said::Command(..)) {
                return said;
            }
        }
    }

    /// Whether nothing more was said.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.heard.is_empty() && crate::is_quiet(&mut self.pipe)
    }
}

/// The first thing in `heard`, and how long it is there; `None` if it is not all there.
fn first(heard: &[u8]) -> Option<(Said, usize)> {
    match *heard {
        [IAC, IAC, ..] => Some((Said::Byte(IAC), 2)),
        [IAC, SB, ..] => {
            let (mut body, mut at) = (Vec::new(), 2);
            loop {
                match *heard.get(at..)? {
                    [IAC, SE, ..] => break,
                    [IAC, IAC, ..] => (body.push(IAC), at += 2).1,
                    [IAC, other, ..] => panic!("IAC {other} inside a command"),
                    [IAC] | [] => return None,
                    [byte, ..] => (body.push(byte), at += 1).1,
                }
            }
            assert_eq!(body[0], COM_PORT);
            Some((Said::Command(body[1], body[2..].to_vec()), at + 2))
        }
        [IAC, verb, option, ..] => Some((Said::Option(verb, option), 3)),
        [IAC, ..] | [] => None,
        [byte, ..] => Some((Said::Byte(byte), 1)),
    }
}
