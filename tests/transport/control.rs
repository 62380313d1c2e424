//! Controls of a serial port, on real pseudo-terminals. Those have no break, no modem lines, no parity and no speed: what a UART does with
//! them is not shown here, only that each is refused by name, and that nothing waits on the runtime's thread.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use labtether::clock::Clock;
use labtether::nursery::census::Census;
use labtether::nursery::thread::start;
use labtether::transport::Aside;
use labtether::transport::control::{Change, Control, ControlError, Controlled};
use labtether::transport::pty::Pty;
use labtether::transport::serial::{Parity, SerialSettings, StopBits, open_serial};
use rustix::io::ioctl_fionread;
use rustix::termios::{ControlModes, InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Handle;

use crate::{Pipe, is_quiet, read, read_exactly, soon, write};

/// Threads, as a link has them.
pub(crate) fn aside() -> Aside {
    let census = Census::new(&Clock::real());
    Arc::new(move |work| start(&census, None, "test-line", work, drop))
}

type Work = Box<dyn FnOnce() + Send>;

/// What was to run on threads, until the test lets it.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<Work>>>);

impl Held {
    fn aside(&self) -> Aside {
        let held = self.0.clone();
        Arc::new(move |work| {
            held.lock().unwrap_or_else(PoisonError::into_inner).push(work);
            Ok(())
        })
    }

    fn run(&self) -> usize {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        let n = all.len();
        for work in all {
            let done = std::thread::spawn(work);
            done.join().unwrap();
        }
        n
    }
}

/// Both sides of a pseudo-terminal, and a third party's look at it.
struct Bench {
    instrument: Pipe,
    host: Pipe,
    look: File,
}

impl Bench {
    fn with(settings: SerialSettings, aside: Aside) -> Bench {
        let (pty, path) = Pty::open().unwrap();
        let settings = SerialSettings { exclusive: false, ..settings };
        let host = open_serial(&path, &settings, &Handle::current(), aside).unwrap().pipe;
        let look = File::options().read(true).write(true).open(&path).unwrap();
        Bench { instrument: Box::new(pty), host, look }
    }

    fn open() -> Bench {
        Bench::with(SerialSettings::default(), aside())
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.look).unwrap()
    }

    async fn control(&mut self, control: Control) -> Result<Controlled, ControlError> {
        soon(poll_fn(|cx| self.host.poll_control(cx, &control))).await
    }

    fn try_control(&mut self, control: &Control) -> Poll<Result<Controlled, ControlError>> {
        self.host.poll_control(&mut Context::from_waker(Waker::noop()), control)
    }
}

fn done(result: Result<Controlled, ControlError>) -> Vec<String> {
    match result {
        Ok(Controlled::Done(notices)) => notices,
        other => panic!("not done: {other:?}"),
    }
}

fn unsupported(result: Result<Controlled, ControlError>) -> String {
    match result {
        Err(ControlError::Unsupported(why)) => why,
        other => panic!("not unsupported: {other:?}"),
    }
}

fn configure(change: Change) -> Control {
    Control::Configure(change)
}

#[tokio::test]
async fn what_a_pseudo_terminal_has_not_is_refused_by_name() {
    let mut bench = Bench::open();
    let lines = |dtr, rts| Control::SetLines { dtr, rts };
    for (control, why) in [
        (Control::Break(true), "break: a pseudo-terminal has none"),
        (lines(Some(true), None), "dtr: a pseudo-terminal has no modem lines"),
        (lines(None, Some(false)), "rts: a pseudo-terminal has no modem lines"),
        (lines(Some(false), Some(false)), "dtr: a pseudo-terminal has no modem lines"),
        (Control::ReadLines, "lines: a pseudo-terminal has no modem lines"),
        (Control::WriteEof, "write_eof: a serial line has no end that could be written"),
    ] {
        assert_eq!(unsupported(bench.control(control).await), why);
    }
    // The port is none the worse for it.
    write(&mut bench.host, b"S\r\n").await;
    assert_eq!(read_exactly(&mut bench.instrument, 3).await, b"S\r\n");
}

#[tokio::test]
async fn only_what_is_given_changes_and_what_has_come_stays() {
    let mut bench = Bench::with(SerialSettings { xonxoff: true, ..SerialSettings::default() }, aside());
    // Another program's doing, and none of ours.
    let mut modes = bench.modes();
    modes.local_modes.insert(LocalModes::NOFLSH);
    modes.control_modes.insert(ControlModes::HUPCL);
    tcsetattr(&bench.look, OptionalActions::Now, &modes).unwrap();

    write(&mut bench.instrument, b"12.5 g\r\n").await;
    // Until it is where a flush would find it.
    soon(async {
        while ioctl_fionread(&bench.look).unwrap() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // No table has this speed.
    let change = Change { baudrate: Some(250_000), ..Change::default() };
    assert_eq!(done(bench.control(configure(change)).await), Vec::<String>::new());
    let after = bench.modes();
    assert_eq!((after.output_speed(), after.input_speed()), (250_000, 250_000));
    assert!(after.input_modes.contains(InputModes::IXON | InputModes::IXOFF));
    assert!(after.local_modes.contains(LocalModes::NOFLSH) && after.control_modes.contains(ControlModes::HUPCL));
    assert_eq!(read_exactly(&mut bench.host, 8).await, b"12.5 g\r\n");

    let change = Change { xonxoff: Some(false), ..Change::default() };
    done(bench.control(configure(change)).await);
    let after = bench.modes();
    assert!(!after.input_modes.intersects(InputModes::IXON | InputModes::IXOFF));
    assert_eq!(after.output_speed(), 250_000);
    assert_eq!(bench.host.bytes_per_second(), None, "a pseudo-terminal has no speed of its own");
}

#[tokio::test]
async fn settings_that_a_pseudo_terminal_has_not_are_left_out_with_a_notice() {
    let mut bench = Bench::open();
    let change = Change {
        baudrate: Some(19_200),
        bytesize: Some(7),
        parity: Some(Parity::Even),
        stopbits: Some(StopBits::Two),
        rtscts: Some(true),
        ..Change::default()
    };
    let notices = done(bench.control(configure(change)).await);
    let left_out: Vec<&str> = notices.iter().map(|notice| notice.split(' ').next().unwrap()).collect();
    assert_eq!(left_out, ["bytesize=7", "parity='E'", "stopbits=2", "rtscts=True"]);
    let after = bench.modes();
    assert_eq!(after.output_speed(), 19_200);
    assert!(!after.control_modes.intersects(ControlModes::PARENB | ControlModes::CSTOPB | ControlModes::CRTSCTS));
    // What was left out before is not mentioned again.
    let change = Change { baudrate: Some(9600), parity: Some(Parity::None), ..Change::default() };
    assert_eq!(done(bench.control(configure(change)).await), Vec::<String>::new());
}

#[tokio::test]
async fn a_setting_that_no_line_has_leaves_the_old_ones_in_force() {
    let mut bench = Bench::open();
    let change = Change { baudrate: Some(19_200), bytesize: Some(9), ..Change::default() };
    let why = unsupported(bench.control(configure(change)).await);
    assert_eq!(why, "bytesize=9: a character has 5 to 8 bits");
    let change = Change { baudrate: Some(0), xonxoff: Some(true), ..Change::default() };
    assert_eq!(unsupported(bench.control(configure(change)).await), "baudrate=0 means to hang up");
    let after = bench.modes();
    assert_eq!(after.output_speed(), 9600);
    assert!(!after.input_modes.contains(InputModes::IXON));
}

#[tokio::test]
async fn a_port_that_has_gone_is_lost() {
    let Bench { instrument, mut host, .. } = Bench::open();
    drop(instrument);
    let change = Change { baudrate: Some(19_200), ..Change::default() };
    for control in [Control::ReadLines, Control::SetLines { dtr: Some(true), rts: None }, configure(change)] {
        match soon(poll_fn(|cx| host.poll_control(cx, &control))).await {
            Err(ControlError::Lost(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
            other => panic!("not lost: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_driver_that_thinks_about_it_holds_up_nobody() {
    let held = Held::default();
    let mut bench = Bench::with(SerialSettings::default(), held.aside());
    let change = configure(Change { baudrate: Some(19_200), ..Change::default() });
    for _ in 0..3 {
        assert!(bench.try_control(&change).is_pending());
    }
    write(&mut bench.host, b"S\r\n").await;
    assert_eq!(read_exactly(&mut bench.instrument, 3).await, b"S\r\n");
    assert_eq!(bench.modes().output_speed(), 9600);
    assert_eq!(held.run(), 1, "asked three times, done once");
    assert!(matches!(bench.try_control(&change), Poll::Ready(Ok(Controlled::Done(_)))));
    assert_eq!(bench.modes().output_speed(), 19_200);
}

#[tokio::test]
async fn the_next_control_waits_for_one_that_was_given_up_and_has_its_own_answer() {
    let held = Held::default();
    let mut bench = Bench::with(SerialSettings::default(), held.aside());
    let faster = configure(Change { baudrate: Some(19_200), ..Change::default() });
    assert!(bench.try_control(&faster).is_pending());
    // Without a word, as when its deadline has passed.
    assert!(bench.try_control(&Control::ReadLines).is_pending());
    assert_eq!(held.run(), 1, "two at once");
    assert!(bench.try_control(&Control::ReadLines).is_pending());
    assert_eq!(held.run(), 1);
    assert!(matches!(bench.try_control(&Control::ReadLines), Poll::Ready(Err(ControlError::Unsupported(_)))));
    assert_eq!(bench.modes().output_speed(), 19_200);

    // The same again is another question: what the lines said then is not what they say now.
    assert!(bench.try_control(&Control::ReadLines).is_pending());
    bench.host.abandon_control();
    assert_eq!(held.run(), 1);
    assert!(bench.try_control(&Control::ReadLines).is_pending(), "an old answer");
    assert_eq!(held.run(), 1);
    assert!(bench.try_control(&Control::ReadLines).is_ready());
    // Nothing is under way.
    bench.host.abandon_control();
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way_and_then_the_port_is_free() {
    let held = Held::default();
    let (_pty, path) = Pty::open().unwrap();
    let mut host = open_serial(&path, &SerialSettings::default(), &Handle::current(), held.aside()).unwrap().pipe;
    let asked = host.poll_control(&mut Context::from_waker(Waker::noop()), &Control::ReadLines);
    assert!(asked.is_pending());
    let closing = std::thread::spawn(move || host.close());
    assert!(is_quiet_thread(&closing));
    assert_eq!(held.run(), 1);
    closing.join().unwrap();
    open_serial(&path, &SerialSettings::default(), &Handle::current(), aside()).unwrap();
}

/// It cannot end before the errand has run; that it is given a chance to makes the test sharper, not slower than it must be.
fn is_quiet_thread(thread: &std::thread::JoinHandle<()>) -> bool {
    for _ in 0..100 {
        std::thread::yield_now();
    }
    !thread.is_finished()
}

#[tokio::test]
async fn an_errand_without_a_thread_says_so() {
    let none: Aside = Arc::new(|_| Err(io::Error::from_raw_os_error(11)));
    let mut bench = Bench::with(SerialSettings::default(), none);
    let why = unsupported(bench.control(Control::ReadLines).await);
    assert!(why.starts_with("lines: no thread to do it on: "), "{why}");
    assert!(is_quiet(&mut bench.host));
    write(&mut bench.instrument, b"x").await;
    assert_eq!(read(&mut bench.host).await.unwrap(), b"x");
}
