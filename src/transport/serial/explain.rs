//! Why a serial port did not open, in words, with what to do about it. Nothing here is called while all goes well.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::termios::tcgetattr;

use crate::error::{OpenError, OpenKind};
use crate::transport::ports::{ports, there_are};

/// What is there is no serial port.
pub(super) fn not_a_terminal(found: &Metadata) -> OpenError {
    let kind = found.file_type();
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_file() {
        "an ordinary file"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a named pipe"
    } else {
        "something else"
    };
    let why = format!("it is not a serial port but {what}");
    OpenError { kind: OpenKind::Unsupported, why, errno: Some(Errno::NOTTY.raw_os_error()) }
}

/// A system call failed with `error`.
pub(super) fn failure(path: &str, error: &io::Error) -> OpenError {
    match error.raw_os_error() {
        Some(errno) => of_errno(path, Errno::from_raw_os_error(errno)),
        // A path with a zero byte in it.
        None => OpenError::new(OpenKind::Missing, error.to_string()),
    }
}

/// tokio-serial could not open it, and does not say which system call failed: it is done again, now that it can do no more harm.
pub(super) fn refusal(path: &str, exclusive: bool, error: &tokio_serial::Error) -> OpenError {
    match probe(path, exclusive) {
        Err(errno) => of_errno(path, errno),
        Ok(()) => OpenError::new(OpenKind::Unsupported, format!("the driver does not take the settings: {error}")),
    }
}

fn probe(path: &str, exclusive: bool) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = open(path, flags, Mode::empty())?;
    tcgetattr(&port)?;
    let lock = if exclusive { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
    flock(&port, lock)
}

fn of_errno(path: &str, errno: Errno) -> OpenError {
    let (kind, why) = match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::NXIO | Errno::LOOP | Errno::NAMETOOLONG => {
            (OpenKind::Missing, format!("there is no such port; {}", there_are(&ports())))
        }
        // A driver's entry for a port that the machine could have and has not.
        Errno::IO => (OpenKind::Missing, format!("there is no device behind it; {}", there_are(&ports()))),
        Errno::ACCESS | Errno::PERM => (OpenKind::Permission, permission(path)),
        Errno::BUSY | Errno::AGAIN => (OpenKind::InUse, in_use(path)),
        Errno::NOTTY => (OpenKind::Unsupported, "it is not a serial port".to_owned()),
        other => (OpenKind::Refused, format!("the system does not open it: {}", io::Error::from(other))),
    };
    OpenError { kind, why, errno: Some(errno.raw_os_error()) }
}

fn permission(path: &str) -> String {
    let Ok(found) = fs::metadata(path) else { return "you may not look into the folder it is in".to_owned() };
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let joined = rustix::process::getgroups().unwrap_or_default().iter().any(|group| group.as_raw() == found.gid());
    which_group(&groups, found.gid(), found.mode(), joined)
}

/// `groups` is the text of /etc/group; `joined`: this process is in the group already.
fn which_group(groups: &str, gid: u32, mode: u32, joined: bool) -> String {
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    });
    let group = named.map_or_else(|| gid.to_string(), str::to_owned);
    // What its group may not do, joining that does not help; and nobody is to join root's.
    if gid == 0 || mode & 0o060 != 0o060 {
        return format!(
            "you may not open it, and only its owner may (mode {:03o}): give it to a group with a udev rule",
            mode & 0o777
        );
    }
    if joined {
        return format!(
            "the system refuses it although you are in its group '{group}': a container, or a security policy"
        );
    }
    format!(
        "you may not open it, the group '{group}' may: add yourself to the group '{group}' \
         (sudo usermod -aG {group} $USER), then log in again"
    )
}

fn in_use(path: &str) -> String {
    match holders(path).as_slice() {
        [] => "another program has it open".to_owned(),
        [one] => format!("{one} has it open"),
        many => format!("other programs have it open: {}", many.join(", ")),
    }
}

/// Who has the port: whoever locked it; else, where it can be seen, whoever has it open. Only Linux tells.
fn holders(path: &str) -> Vec<String> {
    let Ok(found) = fs::metadata(path) else { return Vec::new() };
    // In large pieces: between two of them the table may change, and a line be skipped.
    let table = File::open("/proc/locks").map(|table| BufReader::with_capacity(1 << 16, table));
    let lines = table.into_iter().flat_map(|table| table.lines().map_while(Result::ok));
    let locking = lockers(lines, found.dev(), found.ino());
    let all = if locking.is_empty() { openers(path) } else { locking };
    all.into_iter().map(program).collect()
}

/// The processes that hold an advisory lock on a file, from the lines of /proc/locks.
fn lockers(locks: impl Iterator<Item = String>, device: u64, inode: u64) -> Vec<u32> {
    let place = |device| format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let file = rustix::fs::Dev::try_from(device).map_or_else(|_| String::new(), place);
    let holder = |line: String| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, _, pid, place, ..] if *place == file => pid.parse().ok(),
            _ => None,
        }
    };
    let mut pids: Vec<u32> = locks.filter_map(holder).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn openers(path: &str) -> Vec<u32> {
    let Ok(port) = fs::canonicalize(path) else { return Vec::new() };
    let own = std::process::id();
    let has_it = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == port))
    };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own).filter(has_it).collect()
}

fn program(pid: u32) -> String {
    if pid == std::process::id() {
        return "this very process".to_owned();
    }
    let name = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {pid}"),
        name => format!("{name} (process {pid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\ndaemon:x:1:\ndialout:x:20:ada,bob\n";

    #[test]
    fn the_group_to_join_is_named() {
        assert_eq!(
            which_group(GROUPS, 20, 0o020_660, false),
            "you may not open it, the group 'dialout' may: add yourself to the group 'dialout' \
             (sudo usermod -aG dialout $USER), then log in again"
        );
        assert!(which_group(GROUPS, 986, 0o660, false).contains("group '986'"));
    }

    #[test]
    fn nobody_is_told_to_join_a_group_that_does_not_help() {
        assert!(which_group(GROUPS, 0, 0o660, false).contains("udev"));
        assert!(which_group(GROUPS, 20, 0o620, false).contains("mode 620"));
        assert!(which_group(GROUPS, 20, 0o660, true).contains("although you are in its group 'dialout'"));
    }

    #[test]
    fn whoever_locked_it_is_found() {
        let locks = "1: FLOCK  ADVISORY  WRITE 4711 00:18:5 0 EOF\n2: POSIX  ADVISORY  WRITE 12 00:18:5 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 99 00:18:6 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 7 00:18:5 0 EOF\n";
        let lockers = |inode| lockers(locks.lines().map(str::to_owned), rustix::fs::makedev(0, 0x18), inode);
        assert_eq!(lockers(5), [4711]);
        assert_eq!(lockers(4), [0_u32; 0]);
    }

    #[test]
    fn each_number_has_its_kind() {
        let kind = |errno| of_errno("/dev/null", errno).kind;
        for missing in [Errno::NOENT, Errno::NODEV, Errno::NXIO, Errno::IO] {
            assert_eq!(kind(missing), OpenKind::Missing);
        }
        assert_eq!(kind(Errno::ACCESS), OpenKind::Permission);
        assert_eq!(kind(Errno::BUSY), OpenKind::InUse);
        assert_eq!(kind(Errno::NOTTY), OpenKind::Unsupported);
        assert_eq!(kind(Errno::MFILE), OpenKind::Refused);
        assert_eq!(of_errno("/dev/null", Errno::BUSY).errno, Some(Errno::BUSY.raw_os_error()));
    }
}
