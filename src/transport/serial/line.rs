//! What a port's settings mean to the system: what it can take, what it was given, and whether it took it. Nothing is opened here.

use std::os::fd::BorrowedFd;

use rustix::termios::{ControlModes, InputModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilder};

use super::{Parity, SerialSettings, StopBits};
use crate::error::{OpenError, OpenKind};

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
pub(super) fn check(settings: &SerialSettings) -> Result<(), OpenError> {
    if settings.baudrate == 0 {
        return Err(unsupported("baudrate=0 means to hang up"));
    }
    if !(5..=8).contains(&settings.bytesize) {
        return Err(unsupported(format!("bytesize={}: a character has 5 to 8 bits", settings.bytesize)));
    }
    Ok(())
}

/// Settings that this system's drivers cannot take, whatever the device; else what is left out, in words.
pub(super) fn supported(settings: &SerialSettings) -> Result<Vec<String>, OpenError> {
    if settings.dsrdtr {
        return Err(unsupported("dsrdtr=True: Linux has no DSR/DTR flow control; use rtscts=True"));
    }
    if settings.stopbits == StopBits::OnePointFive {
        return Err(unsupported("stopbits=1.5: Linux has 1 and 2; a receiver that wants 1.5 takes 2"));
    }
    let rts = settings.rtscts.then_some(settings.rts).flatten();
    Ok(rts
        .map(|_| "rts is set once only: with rtscts=True the driver moves that line".to_owned())
        .into_iter()
        .collect())
}

/// The settings that a pseudo-terminal can take, and in words what it cannot.
pub(super) fn without_uart(settings: &SerialSettings) -> (SerialSettings, Vec<String>) {
    let mut notices = Vec::new();
    let mut left_out = |given: bool, setting: &str, why: &str| {
        if given {
            notices.push(format!("{setting} is left out: a pseudo-terminal has no {why}"));
        }
    };
    left_out(settings.bytesize != 8, &format!("bytesize={}", settings.bytesize), "characters of other than 8 bits");
    left_out(settings.parity != Parity::None, &format!("parity={:?}", letter(settings.parity)), "parity");
    left_out(settings.stopbits != StopBits::One, &format!("stopbits={}", count(settings.stopbits)), "stop bits");
    for (given, setting) in [
        (settings.rtscts, "rtscts=True"),
        (settings.dsrdtr, "dsrdtr=True"),
        (settings.dtr.is_some(), "dtr"),
        (settings.rts.is_some(), "rts"),
    ] {
        left_out(given, setting, "modem lines");
    }
    let plain = SerialSettings::default();
    let left = SerialSettings {
        baudrate: settings.baudrate,
        xonxoff: settings.xonxoff,
        exclusive: settings.exclusive,
        ..plain
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

/// Sets the port, then asks what it was set to: many drivers take what they cannot do, and do something else.
pub(super) fn apply(port: BorrowedFd<'_>, settings: &SerialSettings) -> Result<(), OpenError> {
    let failed = |errno: rustix::io::Errno| OpenError {
        kind: OpenKind::Unsupported,
        why: format!("the driver does not take the settings: {errno}"),
        errno: Some(errno.raw_os_error()),
    };
    if STICK.is_empty() && matches!(settings.parity, Parity::Mark | Parity::Space) {
        return Err(unsupported("parity: this system has no mark and space parity"));
    }
    let mut modes = tcgetattr(port).map_err(failed)?;
    let before = (modes.control_modes, modes.input_modes);
    set(&mut modes, settings);
    // On macOS, setting anything would undo the speed that the builder has set.
    if (modes.control_modes, modes.input_modes) != before {
        tcsetattr(port, OptionalActions::Now, &modes).map_err(failed)?;
    }
    match untaken(&tcgetattr(port).map_err(failed)?, settings) {
        Some(why) => Err(unsupported(why)),
        None => Ok(()),
    }
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

fn set(modes: &mut Termios, settings: &SerialSettings) {
    let control = &mut modes.control_modes;
    control.remove(ControlModes::CSIZE);
    control.insert(size_bits(settings.bytesize));
    control.remove(PARITY);
    control.insert(parity_bits(settings.parity));
    control.set(ControlModes::CSTOPB, settings.stopbits != StopBits::One);
    control.set(ControlModes::CRTSCTS, settings.rtscts);
    let input = &mut modes.input_modes;
    input.remove(FLOW);
    input.insert(flow_bits(settings.xonxoff));
}

/// The first setting that did not take, in words.
fn untaken(modes: &Termios, settings: &SerialSettings) -> Option<String> {
    let control = modes.control_modes;
    let wrong = if control.intersection(ControlModes::CSIZE) != size_bits(settings.bytesize) {
        format!("bytesize={}", settings.bytesize)
    } else if control.intersection(PARITY) != parity_bits(settings.parity) {
        format!("parity={:?}", letter(settings.parity))
    } else if control.contains(ControlModes::CSTOPB) != (settings.stopbits != StopBits::One) {
        format!("stopbits={}", count(settings.stopbits))
    } else if control.contains(ControlModes::CRTSCTS) != settings.rtscts {
        format!("rtscts={}", if settings.rtscts { "True" } else { "False" })
    } else if modes.input_modes.intersection(FLOW) != flow_bits(settings.xonxoff) {
        format!("xonxoff={}", if settings.xonxoff { "True" } else { "False" })
    } else {
        let speed = modes.output_speed();
        // Drivers tell the speed that their divider really makes. A receiver stands about 3 % of difference.
        let near = u64::from(speed.abs_diff(settings.baudrate)) * 100 <= u64::from(settings.baudrate) * 3;
        if near || !cfg!(target_os = "linux") {
            return None;
        }
        return Some(format!("baudrate={}: the device would run at {speed}", settings.baudrate));
    };
    Some(format!("{wrong}: the device did not take it"))
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
        let error = apply(slave.as_fd(), settings).unwrap_err();
        assert_eq!(error.kind, OpenKind::Unsupported);
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
    fn what_took_reads_back() {
        let (_master, slave) = terminal();
        let both = SerialSettings { xonxoff: true, rtscts: true, stopbits: StopBits::Two, ..SerialSettings::default() };
        apply(slave.as_fd(), &both).unwrap();
        let modes = tcgetattr(&slave).unwrap();
        assert!(modes.control_modes.contains(ControlModes::CRTSCTS | ControlModes::CSTOPB));
        assert!(modes.input_modes.contains(InputModes::IXON | InputModes::IXOFF));
        apply(slave.as_fd(), &SerialSettings::default()).unwrap();
        let modes = tcgetattr(&slave).unwrap();
        assert!(!modes.control_modes.intersects(ControlModes::CRTSCTS | ControlModes::CSTOPB));
        assert!(!modes.input_modes.intersects(FLOW));
    }

    #[test]
    fn mark_and_space_are_sticky_odd_and_even() {
        let (_master, slave) = terminal();
        let mut modes = tcgetattr(&slave).unwrap();
        for (parity, odd) in [(Parity::Mark, true), (Parity::Space, false)] {
            let settings = SerialSettings { parity, ..SerialSettings::default() };
            set(&mut modes, &settings);
            assert!(modes.control_modes.contains(ControlModes::PARENB | ControlModes::CMSPAR));
            assert_eq!(modes.control_modes.contains(ControlModes::PARODD), odd);
            assert_eq!(untaken(&modes, &settings), None);
        }
        let dropped = SerialSettings { parity: Parity::Mark, ..SerialSettings::default() };
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
        let why = |settings: SerialSettings| supported(&settings).unwrap_err().why;
        assert!(why(SerialSettings { dsrdtr: true, ..SerialSettings::default() }).ends_with("use rtscts=True"));
        let longer = SerialSettings { stopbits: StopBits::OnePointFive, ..SerialSettings::default() };
        assert!(why(longer).starts_with("stopbits=1.5"));
        let twice = SerialSettings { rtscts: true, rts: Some(true), ..SerialSettings::default() };
        assert_eq!(supported(&twice).unwrap().len(), 1);
        assert!(check(&SerialSettings { bytesize: 9, ..SerialSettings::default() }).is_err());
        assert!(check(&SerialSettings { baudrate: 0, ..SerialSettings::default() }).is_err());
    }
}
