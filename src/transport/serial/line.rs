//! What a port's settings mean to the system: what it can take, what it was given, and whether it took it. Nothing is opened here.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::termios::{ControlModes, InputModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilder};

use super::{Parity, SerialSettings, StopBits};
use crate::error::{OpenError, OpenKind};
use crate::transport::control::Change;

fn unsupported(why: impl Into<String>) -> OpenError {
    OpenError::new(OpenKind::Unsupported, why)
}

/// Whether the device is one side of a pseudo-terminal.
pub(super) fn is_pseudo_terminal(path: &str, device: u64) -> bool {
    if cfg!(target_os = "linux") {
        // Documentation/admin-guide/devices.txt: majors 136 to 143 are the Unix98 pseudo-terminals.
        rustix::fs::Dev::try_from(device).is_ok_and(|device| (136..=143).contains(&rustix::fs::major(device)))
    } else {
        path.starts_with("/dev/ttys")
    }
}

/// Settings that no device takes.
pub(super) fn check(change: &Change) -> Result<(), OpenError> {
    if change.baudrate == Some(0) {
        return Err(unsupported("baudrate=0 means to hang up"));
    }
    match change.bytesize {
        Some(bytesize) if !(5..=8).contains(&bytesize) => {
            Err(unsupported(format!("bytesize={bytesize}: a character has 5 to 8 bits")))
        }
        _ => Ok(()),
    }
}

/// Who sets RTS while it is the driver's.
pub(super) const RTS_MOVES: &str = "rts is set once only: with rtscts=True the driver moves that line";

/// Settings that this system's drivers cannot take, whatever the device.
pub(super) fn supported(change: &Change) -> Result<(), OpenError> {
    if change.dsrdtr == Some(true) {
        return Err(unsupported("dsrdtr=True: Linux has no DSR/DTR flow control; use rtscts=True"));
    }
    if change.stopbits == Some(StopBits::OnePointFive) {
        return Err(unsupported("stopbits=1.5: Linux has 1 and 2; a receiver that wants 1.5 takes 2"));
    }
    Ok(())
}

/// What of `change` a pseudo-terminal can take, and in words what it cannot.
pub(super) fn without_uart(change: &Change) -> (Change, Vec<String>) {
    let mut notices = Vec::new();
    let mut left_out = |given: bool, setting: String, why: &str| {
        if given {
            notices.push(format!("{setting} is left out: a pseudo-terminal has no {why}"));
        }
    };
    let plain = SerialSettings::default();
    let (bytesize, parity) = (change.bytesize.unwrap_or(plain.bytesize), change.parity.unwrap_or(plain.parity));
    let stopbits = change.stopbits.unwrap_or(plain.stopbits);
    left_out(bytesize != plain.bytesize, format!("bytesize={bytesize}"), "characters of other than 8 bits");
    left_out(parity != plain.parity, format!("parity={:?}", letter(parity)), "parity");
    left_out(stopbits != plain.stopbits, format!("stopbits={}", count(stopbits)), "stop bits");
    for (given, setting) in [(change.rtscts, "rtscts=True"), (change.dsrdtr, "dsrdtr=True")] {
        left_out(given == Some(true), setting.to_owned(), "modem lines");
    }
    let left = Change {
        baudrate: change.baudrate,
        xonxoff: change.xonxoff,
        bytesize: change.bytesize.map(|_| plain.bytesize),
        parity: change.parity.map(|_| plain.parity),
        stopbits: change.stopbits.map(|_| plain.stopbits),
        rtscts: change.rtscts.map(|_| false),
        dsrdtr: change.dsrdtr.map(|_| false),
    };
    (left, notices)
}

fn letter(parity: Parity) -> char {
    match parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
        Parity::Mark => 'M',
        Parity::Space => 'S',
    }
}

fn count(stopbits: StopBits) -> f64 {
    match stopbits {
        StopBits::One => 1.0,
        StopBits::OnePointFive => 1.5,
        StopBits::Two => 2.0,
    }
}

/// How fast bytes leave the port.
pub(super) fn bytes_per_second(settings: &SerialSettings) -> f64 {
    let parity = if settings.parity == Parity::None { 0.0 } else { 1.0 };
    let bits = 1.0 + f64::from(settings.bytesize) + parity + count(settings.stopbits);
    f64::from(settings.baudrate) / bits
}

/// Everything that tokio-serial has a word for; [`apply`] does the rest.
pub(super) fn builder(path: &str, settings: &SerialSettings, pseudo: bool) -> SerialPortBuilder {
    // On macOS the speed of a pseudo-terminal cannot be set, and 0 means to leave it.
    let baudrate = if pseudo && cfg!(target_os = "macos") { 0 } else { settings.baudrate };
    let mut builder = tokio_serial::new(path, baudrate)
        .data_bits(match settings.bytesize {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        })
        .parity(match settings.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even | Parity::Space => tokio_serial::Parity::Even,
            Parity::Odd | Parity::Mark => tokio_serial::Parity::Odd,
        })
        .stop_bits(match settings.stopbits {
            StopBits::One => tokio_serial::StopBits::One,
            StopBits::OnePointFive | StopBits::Two => tokio_serial::StopBits::Two,
        })
        .flow_control(match (settings.rtscts, settings.xonxoff) {
            (true, _) => FlowControl::Hardware,
            (false, true) => FlowControl::Software,
            (false, false) => FlowControl::None,
        })
        .exclusive(settings.exclusive);
    if let Some(level) = settings.dtr {
        builder = builder.dtr_on_open(level);
    }
    builder
}

const FLOW: InputModes = InputModes::IXON.union(InputModes::IXOFF).union(InputModes::IXANY);

/// One bit of parity that is always the same.
#[cfg(target_os = "linux")]
const STICK: ControlModes = ControlModes::CMSPAR;
#[cfg(not(target_os = "linux"))]
const STICK: ControlModes = ControlModes::empty();

/// How the speed comes to be set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speed {
    /// The builder has set it.
    Set,
    /// With the rest.
    ToSet,
}

/// In mid-session it is ours to set, but on macOS a pseudo-terminal has none.
pub(super) fn speed_of(pseudo: bool) -> Speed {
    if pseudo && cfg!(target_os = "macos") { Speed::Set } else { Speed::ToSet }
}

/// Sets the port, then asks what it was set to: many drivers take what they cannot do, and do something else. What was in force before
/// is in force again after an error. Input that has come stays.
pub(super) fn apply(port: BorrowedFd<'_>, change: &Change, speed: Speed) -> Result<(), OpenError> {
    if STICK.is_empty() && matches!(change.parity, Some(Parity::Mark | Parity::Space)) {
        return Err(unsupported("parity: this system has no mark and space parity"));
    }
    let before = tcgetattr(port).map_err(|errno| refused(change, errno))?;
    let mut modes = before.clone();
    set(&mut modes, change);
    let mut changed = (modes.control_modes, modes.input_modes) != (before.control_modes, before.input_modes);
    if let (Speed::ToSet, Some(baudrate)) = (speed, change.baudrate) {
        modes.set_speed(baudrate).map_err(|errno| refused(change, errno))?;
        changed = true;
    }
    // On macOS, setting anything would undo the speed that the builder has set.
    if !changed {
        return taken(port, change);
    }
    let set = tcsetattr(port, OptionalActions::Now, &modes).map_err(|errno| refused(change, errno));
    set.and_then(|()| taken(port, change)).inspect_err(|_| {
        // A port that does not take back what it had has gone, or the error says enough.
        let _ = tcsetattr(port, OptionalActions::Now, &before);
    })
}

fn taken(port: BorrowedFd<'_>, change: &Change) -> Result<(), OpenError> {
    match untaken(&tcgetattr(port).map_err(|errno| refused(change, errno))?, change) {
        Some(why) => Err(unsupported(why)),
        None => Ok(()),
    }
}

/// The driver refuses them all together, and does not say which it minds.
fn refused(change: &Change, errno: Errno) -> OpenError {
    let why = format!("the driver does not take {}: {errno}", described(change));
    OpenError { kind: OpenKind::Unsupported, why, errno: Some(errno.raw_os_error()) }
}

/// What is given, as it is written in Python.
fn described(change: &Change) -> String {
    let flag = |name: &str, on: bool| format!("{name}={}", if on { "True" } else { "False" });
    let given = [
        change.baudrate.map(|baudrate| format!("baudrate={baudrate}")),
        change.bytesize.map(|bytesize| format!("bytesize={bytesize}")),
        change.parity.map(|parity| format!("parity={:?}", letter(parity))),
        change.stopbits.map(|stopbits| format!("stopbits={}", count(stopbits))),
        change.xonxoff.map(|on| flag("xonxoff", on)),
        change.rtscts.map(|on| flag("rtscts", on)),
        change.dsrdtr.map(|on| flag("dsrdtr", on)),
    ];
    given.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn size_bits(bytesize: u8) -> ControlModes {
    match bytesize {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    }
}

fn parity_bits(parity: Parity) -> ControlModes {
    match parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB.union(ControlModes::PARODD),
        Parity::Mark => ControlModes::PARENB.union(ControlModes::PARODD).union(STICK),
        Parity::Space => ControlModes::PARENB.union(STICK),
    }
}

const PARITY: ControlModes = ControlModes::PARENB.union(ControlModes::PARODD).union(STICK);

fn flow_bits(xonxoff: bool) -> InputModes {
    if xonxoff { InputModes::IXON.union(InputModes::IXOFF) } else { InputModes::empty() }
}

fn set(modes: &mut Termios, change: &Change) {
    let control = &mut modes.control_modes;
    if let Some(bytesize) = change.bytesize {
        control.remove(ControlModes::CSIZE);
        control.insert(size_bits(bytesize));
    }
    if let Some(parity) = change.parity {
        control.remove(PARITY);
        control.insert(parity_bits(parity));
    }
    if let Some(stopbits) = change.stopbits {
        control.set(ControlModes::CSTOPB, stopbits != StopBits::One);
    }
    if let Some(on) = change.rtscts {
        control.set(ControlModes::CRTSCTS, on);
    }
    if let Some(on) = change.xonxoff {
        let input = &mut modes.input_modes;
        input.remove(FLOW);
        input.insert(flow_bits(on));
    }
}

/// The settings that did not take, in words.
fn untaken(modes: &Termios, change: &Change) -> Option<String> {
    let control = modes.control_modes;
    let two = control.contains(ControlModes::CSTOPB);
    let wrong = Change {
        bytesize: change.bytesize.filter(|&size| control.intersection(ControlModes::CSIZE) != size_bits(size)),
        parity: change.parity.filter(|&parity| control.intersection(PARITY) != parity_bits(parity)),
        stopbits: change.stopbits.filter(|&stopbits| two != (stopbits != StopBits::One)),
        rtscts: change.rtscts.filter(|&on| control.contains(ControlModes::CRTSCTS) != on),
        xonxoff: change.xonxoff.filter(|&on| modes.input_modes.intersection(FLOW) != flow_bits(on)),
        ..Change::default()
    };
    if wrong != Change::default() {
        return Some(format!("{}: the device did not take it", described(&wrong)));
    }
    let speed = modes.output_speed();
    // Drivers tell the speed that their divider really makes. A receiver stands about 3 % of difference.
    let near = |baudrate: u32| u64::from(speed.abs_diff(baudrate)) * 100 <= u64::from(baudrate) * 3;
    let baudrate = change.baudrate.filter(|&baudrate| cfg!(target_os = "linux") && !near(baudrate))?;
    Some(format!("baudrate={baudrate}: the device would run at {speed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::fd::{AsFd, OwnedFd};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    /// A pseudo-terminal serves as the driver that takes some settings and silently ignores others.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut modes = tcgetattr(&slave).unwrap();
        modes.make_raw();
        modes.set_speed(9600).unwrap();
        tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
        (master, slave)
    }

    fn refused(settings: &SerialSettings) -> String {
        let (_master, slave) = terminal();
        let before = tcgetattr(&slave).unwrap().control_modes;
        let error = apply(slave.as_fd(), &Change::to(settings), Speed::Set).unwrap_err();
        assert_eq!(error.kind, OpenKind::Unsupported);
        assert_eq!(tcgetattr(&slave).unwrap().control_modes, before, "the old settings are not in force again");
        error.why
    }

    #[test]
    fn a_setting_that_did_not_take_is_named() {
        let plain = SerialSettings::default;
        assert_eq!(
            refused(&SerialSettings { parity: Parity::Even, ..plain() }),
            "parity='E': the device did not take it"
        );
        assert_eq!(refused(&SerialSettings { bytesize: 7, ..plain() }), "bytesize=7: the device did not take it");
        let faster = SerialSettings { baudrate: 19_200, ..plain() };
        assert_eq!(refused(&faster), "baudrate=19200: the device would run at 9600");
    }

    #[test]
    fn what_would_have_taken_is_taken_back_with_what_did_not() {
        let (_master, slave) = terminal();
        let look = || {
            let modes = tcgetattr(&slave).unwrap();
            (modes.control_modes, modes.input_modes, modes.output_speed())
        };
        let before = look();
        let change = Change {
            baudrate: Some(19_200),
            parity: Some(Parity::Even),
            stopbits: Some(StopBits::Two),
            xonxoff: Some(true),
            ..Change::default()
        };
        let error = apply(slave.as_fd(), &change, Speed::ToSet).unwrap_err();
        assert_eq!(error.why, "parity='E': the device did not take it");
        assert_eq!(look(), before);
    }

    #[test]
    fn what_took_reads_back() {
        let (_master, slave) = terminal();
        let both = SerialSettings { xonxoff: true, rtscts: true, stopbits: StopBits::Two, ..SerialSettings::default() };
        apply(slave.as_fd(), &Change::to(&both), Speed::Set).unwrap();
        let modes = tcgetattr(&slave).unwrap();
        assert!(modes.control_modes.contains(ControlModes::CRTSCTS | ControlModes::CSTOPB));
        assert!(modes.input_modes.contains(InputModes::IXON | InputModes::IXOFF));
        apply(slave.as_fd(), &Change::to(&SerialSettings::default()), Speed::Set).unwrap();
        let modes = tcgetattr(&slave).unwrap();
        assert!(!modes.control_modes.intersects(ControlModes::CRTSCTS | ControlModes::CSTOPB));
        assert!(!modes.input_modes.intersects(FLOW));
    }

    #[test]
    fn mark_and_space_are_sticky_odd_and_even() {
        let (_master, slave) = terminal();
        let mut modes = tcgetattr(&slave).unwrap();
        for (parity, odd) in [(Parity::Mark, true), (Parity::Space, false)] {
            let settings = Change { parity: Some(parity), ..Change::default() };
            set(&mut modes, &settings);
            assert!(modes.control_modes.contains(ControlModes::PARENB | ControlModes::CMSPAR));
            assert_eq!(modes.control_modes.contains(ControlModes::PARODD), odd);
            assert_eq!(untaken(&modes, &settings), None);
        }
        let dropped = Change { parity: Some(Parity::Mark), ..Change::default() };
        modes.control_modes.remove(ControlModes::CMSPAR);
        assert_eq!(untaken(&modes, &dropped).unwrap(), "parity='M': the device did not take it");
    }

    #[test]
    fn a_byte_takes_its_start_stop_and_parity_bits_too() {
        let close = |settings: &SerialSettings, expected: f64| (bytes_per_second(settings) - expected).abs() < 1e-9;
        let plain = SerialSettings::default();
        assert!(close(&plain, 960.0));
        let long = SerialSettings { bytesize: 7, parity: Parity::Even, stopbits: StopBits::Two, ..plain };
        assert!(close(&long, 9600.0 / 11.0));
    }

    #[test]
    fn what_linux_lacks_is_refused_with_its_cure() {
        let why = |change: Change| supported(&change).unwrap_err().why;
        assert!(why(Change { dsrdtr: Some(true), ..Change::default() }).ends_with("use rtscts=True"));
        assert!(
            why(Change { stopbits: Some(StopBits::OnePointFive), ..Change::default() }).starts_with("stopbits=1.5")
        );
        supported(&Change::to(&SerialSettings::default())).unwrap();
        assert!(check(&Change { bytesize: Some(9), ..Change::default() }).is_err());
        assert!(check(&Change { baudrate: Some(0), ..Change::default() }).is_err());
    }
}
