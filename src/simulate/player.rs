//! Plays a recorded conversation again, as streams of bytes: what the host sends is compared byte by byte, whatever the sizes of its
//! writes, and each thing that was said comes when all that was heard before it has been heard again. Pure: no I/O, no clock.
//!
//! # Invariants
//! 1. What is said depends on the bytes that were heard, never on how they were cut.
//! 2. Things are said in the order in which they were, however fast the host is.
//! 3. After the first byte that was not expected nothing more is promised; what came is kept for the report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{Instrument, Say};
use crate::framing::{Fixed, Framing};

/// The most bytes that are kept of what was not expected.
const STRAY: usize = 4096;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cue {
    /// The host sent this.
    Hears(Bytes),
    /// The instrument said this, so long after what happened before.
    Says {
        /// How long.
        after: Duration,
        /// What.
        bytes: Bytes,
    },
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes heard as expected, since it was switched on.
    pub heard: u64,
    /// The cue it has come to, and how much of that was heard.
    pub cue: usize,
    /// See `cue`.
    pub within: usize,
    /// What came instead of the expected, from its first wrong byte on; the first few thousand bytes.
    pub stray: Option<Vec<u8>>,
    /// How often it had heard something else, and begins again with the host.
    pub followed: u64,
}

/// See the module. A clone is another handle on the same player.
#[derive(Clone, Debug)]
pub struct Player(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    cues: Vec<Cue>,
    /// It begins again after the last cue.
    again: bool,
    /// Hosts are seen to connect: what it says first waits for one.
    sees_hosts: bool,
    /// What it says first has been said.
    begun: bool,
    progress: Progress,
    /// How many bytes of the first command a host that is lost has sent last.
    repeated: usize,
    uptime: Duration,
    /// When the last thing it has said is due.
    due: Duration,
}

impl Player {
    /// One that plays `cues`: once, or `again` and again. `sees_hosts`: it is told of hosts that connect, and says what comes first to
    /// them; else it says that as soon as it is in service.
    pub fn new(cues: impl IntoIterator<Item = Cue>, again: bool, sees_hosts: bool) -> Player {
        let is_empty = |cue: &Cue| matches!(cue, Cue::Hears(bytes) if bytes.is_empty());
        let cues = cues.into_iter().filter(|cue| !is_empty(cue)).collect();
        let (progress, uptime, due) = (Progress::default(), Duration::ZERO, Duration::ZERO);
        let (begun, repeated) = (false, 0);
        Player(Arc::new(Mutex::new(State { cues, again, sees_hosts, begun, progress, repeated, uptime, due })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.state().progress.clone()
    }
}

impl State {
    fn begin(&mut self) -> Vec<Say> {
        self.begun = true;
        self.speak()
    }

    fn begin_again(&mut self) -> Vec<Say> {
        let followed = self.progress.followed + u64::from(self.progress.stray.is_some());
        self.progress = Progress { followed, ..Progress::default() };
        self.repeated = 0;
        self.begin()
    }

    fn hear(&mut self, byte: u8) -> Vec<Say> {
        let progress = &mut self.progress;
        if let Some(stray) = &mut progress.stray {
            if stray.len() < STRAY {
                stray.push(byte);
            }
            return self.follow(byte);
        }
        match self.cues.get(progress.cue) {
            Some(Cue::Hears(expected)) if expected.get(progress.within) == Some(&byte) => {
                progress.heard += 1;
                progress.within += 1;
                if progress.within < expected.len() {
                    return Vec::new();
                }
                progress.cue += 1;
                progress.within = 0;
                self.speak()
            }
            _ => {
                progress.stray = Some(vec![byte]);
                self.follow(byte)
            }
        }
    }

    /// A host that gave up in the middle and begins again is followed, where there is a beginning again: when it has sent the first
    /// command.
    fn follow(&mut self, byte: u8) -> Vec<Say> {
        let first = self.cues.iter().enumerate().find_map(|(cue, it)| match it {
            Cue::Hears(bytes) => Some((cue, bytes.clone())),
            Cue::Says { .. } => None,
        });
        let Some((cue, first)) = first.filter(|_| self.again) else { return Vec::new() };
        if first.get(self.repeated) != Some(&byte) {
            self.repeated = 0;
        }
        if first.get(self.repeated) == Some(&byte) {
            self.repeated += 1;
        }
        if self.repeated < first.len() {
            return Vec::new();
        }
        self.repeated = 0;
        let heard = u64::try_from(first.len()).unwrap_or(u64::MAX);
        self.progress = Progress { heard, cue: cue + 1, within: 0, stray: None, followed: self.progress.followed + 1 };
        self.speak()
    }

    /// All that is said before something has to be heard.
    fn speak(&mut self) -> Vec<Say> {
        let mut says = Vec::new();
        let mut before = self.uptime;
        while let Some(Cue::Says { after, bytes }) = self.cues.get(self.progress.cue) {
            // A host that does not wait for replies gets them in order all the same.
            self.due = before.saturating_add(*after).max(self.due);
            before = self.due;
            says.push(Say::after(self.due.saturating_sub(self.uptime), bytes.clone()));
            self.progress.cue += 1;
        }
        let hears = self.cues.iter().any(|cue| matches!(cue, Cue::Hears(_)));
        if self.again && hears && self.progress.cue == self.cues.len() {
            self.progress.cue = 0;
            says.extend(self.speak_on());
        }
        says
    }

    /// The first things once more, after the last.
    fn speak_on(&mut self) -> Vec<Say> {
        let uptime = self.uptime;
        self.uptime = uptime.max(self.due);
        let late = self.uptime.saturating_sub(uptime);
        let says = self.speak();
        self.uptime = uptime;
        says.into_iter().map(|say| Say { after: say.after.saturating_add(late), ..say }).collect()
    }
}

impl Instrument for Player {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        let mut state = self.state();
        let mut says = if state.begun { Vec::new() } else { state.begin() };
        says.extend(command.iter().flat_map(|&byte| state.hear(byte)));
        says
    }

    /// Byte by byte: a stream has no messages.
    fn framing(&self) -> Framing {
        Fixed::one_byte().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        let mut state = self.state();
        state.due = state.uptime;
        state.begin_again()
    }

    fn greet(&mut self) -> Vec<Say> {
        let mut state = self.state();
        match (state.begun, state.again) {
            (false, _) => state.begin(),
            // Who plays for ever plays to each host from the beginning.
            (true, true) => state.begin_again(),
            (true, false) => Vec::new(),
        }
    }

    /// Nothing that was recorded is lost to a host that reads slowly; and there is no more of it than was recorded.
    fn most_unread(&self) -> usize {
        usize::MAX
    }

    fn wakes_at(&self) -> Option<Duration> {
        let state = self.state();
        (!state.begun && !state.sees_hosts).then_some(Duration::ZERO)
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        let mut state = self.state();
        state.uptime = uptime;
        if state.begun || state.sees_hosts { Vec::new() } else { state.begin() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn hears(bytes: &'static str) -> Cue {
        Cue::Hears(Bytes::from_static(bytes.as_bytes()))
    }

    fn says(after: u64, bytes: &'static str) -> Cue {
        Cue::Says { after: ms(after), bytes: Bytes::from_static(bytes.as_bytes()) }
    }

    fn said(after: u64, bytes: &'static str) -> Say {
        Say::after(ms(after), Bytes::from_static(bytes.as_bytes()))
    }

    fn at(player: &mut Player, uptime: u64, bytes: &str) -> Vec<Say> {
        let mut says = player.wake(ms(uptime));
        says.extend(player.hear(bytes.as_bytes()));
        says
    }

    #[test]
    fn a_reply_comes_when_the_last_byte_before_it_was_heard() {
        let mut player = Player::new([hears("*IDN?\n"), says(20, "AC"), says(5, "ME\n"), hears("S\n")], false, true);
        assert_eq!(at(&mut player, 1, "*IDN?"), []);
        assert_eq!(at(&mut player, 2, "\nS"), [said(20, "AC"), said(25, "ME\n")]);
        assert_eq!(at(&mut player, 3, "\n"), []);
        assert_eq!(player.progress(), Progress { heard: 8, cue: 4, within: 0, stray: None, followed: 0 });
    }

    #[test]
    fn a_host_that_does_not_wait_gets_the_replies_in_order() {
        let mut player = Player::new([hears("A"), says(100, "a"), hears("B"), says(1, "b"), says(1, "c")], false, true);
        assert_eq!(at(&mut player, 0, "AB"), [said(100, "a"), said(100, "b"), said(101, "c")]);
    }

    #[test]
    fn after_a_byte_that_was_not_expected_it_is_silent_and_keeps_what_came() {
        let mut player = Player::new([hears("VOLT 1\n"), says(0, "OK\n")], false, true);
        assert_eq!(at(&mut player, 0, "VOLT 2\nVOLT 1\n"), []);
        let stray = Some(b"2\nVOLT 1\n".to_vec());
        assert_eq!(player.progress(), Progress { heard: 5, cue: 0, within: 5, stray, followed: 0 });
        at(&mut player, 0, &"x".repeat(10_000));
        assert_eq!(player.progress().stray.map(|stray| stray.len()), Some(STRAY));
        let mut ended = Player::new([hears("A")], false, true);
        at(&mut ended, 0, "AB");
        assert_eq!(ended.progress(), Progress { heard: 1, cue: 1, within: 0, stray: Some(b"B".to_vec()), followed: 0 });
    }

    #[test]
    fn what_comes_first_is_said_at_once_where_hosts_are_not_seen() {
        let mut player = Player::new([says(10, "READY\n"), hears("A")], false, false);
        assert_eq!(player.wakes_at(), Some(Duration::ZERO));
        assert_eq!(player.wake(Duration::ZERO), [said(10, "READY\n")]);
        assert_eq!(player.wakes_at(), None);
        assert_eq!(player.wake(ms(1)), []);
        assert_eq!(player.power_on(), [said(10, "READY\n")], "as when it was new");
    }

    #[test]
    fn what_comes_first_is_said_to_the_first_host_where_hosts_are_seen() {
        let mut player = Player::new([says(10, "READY\n"), hears("A")], false, true);
        assert_eq!((player.wakes_at(), player.wake(ms(500))), (None, Vec::new()));
        assert_eq!(player.greet(), [said(10, "READY\n")]);
        assert_eq!(player.greet(), [], "the conversation goes on with whoever comes next");
        let mut again = Player::new([says(10, "READY\n"), hears("A"), hears("B")], true, true);
        assert_eq!(again.greet(), [said(10, "READY\n")]);
        assert_eq!(at(&mut again, 20, "AX"), []);
        assert_eq!(again.greet(), [said(10, "READY\n")]);
        assert_eq!(again.progress(), Progress { cue: 1, followed: 1, ..Progress::default() });
    }

    #[test]
    fn it_begins_again_if_it_is_to() {
        let mut player = Player::new([says(7, "?"), hears("A"), says(10, "a")], true, false);
        assert_eq!(at(&mut player, 0, "A"), [said(7, "?"), said(10, "a"), said(17, "?")]);
        assert_eq!(at(&mut player, 30, "A"), [said(10, "a"), said(17, "?")]);
        let mut nothing = Player::new([says(0, "for ever")], true, false);
        assert_eq!(nothing.wake(Duration::ZERO), [said(0, "for ever")]);
        assert_eq!(Player::new([], true, true).hear(b"A"), []);
    }

    #[test]
    fn a_host_that_gave_up_and_begins_again_is_followed_where_there_is_a_beginning_again() {
        let cues = [says(0, "!"), hears("ID\n"), says(1, "psu"), hears("V\n"), says(1, "2"), hears("OFF\n")];
        let mut player = Player::new(cues.clone(), true, true);
        player.greet();
        assert_eq!(at(&mut player, 0, "ID\nV"), [said(1, "psu")]);
        assert_eq!(at(&mut player, 10, "IDLE\nII"), []);
        let lost = Progress { heard: 4, cue: 3, within: 1, stray: Some(b"IDLE\nII".to_vec()), followed: 0 };
        assert_eq!(player.progress(), lost);
        assert_eq!(at(&mut player, 20, "D\nV\n"), [said(1, "psu"), said(1, "2")]);
        assert_eq!(player.progress(), Progress { heard: 5, cue: 5, within: 0, stray: None, followed: 1 });
        let mut strict = Player::new(cues, false, true);
        assert_eq!(at(&mut strict, 0, "IDLE\nID\n"), [said(0, "!")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_cut_of_what_is_heard_makes_a_difference(
            cues in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(b'a'..=b'c', 0..4).prop_map(|bytes| Cue::Hears(bytes.into())),
                    (0..50_u64, prop::collection::vec(any::<u8>(), 1..3))
                        .prop_map(|(after, bytes)| Cue::Says { after: ms(after), bytes: bytes.into() }),
                ],
                0..8,
            ),
            other in prop::collection::vec(b'a'..=b'c', 0..6),
            right in any::<bool>(),
            cuts in prop::collection::vec(1..5_usize, 1..20),
        ) {
            let mut stream: Vec<u8> = cues.iter().flat_map(|cue| match cue {
                Cue::Hears(bytes) => bytes.to_vec(),
                Cue::Says { .. } => Vec::new(),
            }).collect();
            if !right {
                stream.truncate(stream.len() / 2);
                stream.extend(other);
            }
            prop_assume!(!stream.is_empty());
            let (mut whole, mut cut) = (Player::new(cues.clone(), false, true), Player::new(cues.clone(), false, true));
            let all = whole.hear(&stream);
            let (mut pieces, mut rest, mut sizes) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                pieces.extend(cut.hear(piece));
                rest = left;
            }
            prop_assert_eq!(&all, &pieces);
            prop_assert_eq!(whole.progress(), cut.progress());
            prop_assert!(all.is_sorted_by_key(|say| say.after));
            if right {
                let wanted = cues.iter().filter(|cue| matches!(cue, Cue::Says { .. })).count();
                prop_assert_eq!(all.len(), wanted);
                prop_assert_eq!(whole.progress().heard, stream.len() as u64);
            }
        }
    }
}
