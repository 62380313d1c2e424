//! A MicroSpin: every command has a number, is acknowledged at once and terminated when it is over. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::options::Given;
use super::{PROMPT, Pace, lines};
use crate::framing::{Framing, Lines};
use crate::simulate::{Instrument, Say};

/// A HighRes MicroSpin: lines in CR LF both ways. Its commands, texts and manners are those of PyLabRobot's driver and
/// mock server, which were written from its manual (1058675) and from sessions with a real one.
///
/// Knows `home`, `open N`, `spin G ACCELERATION DECELERATION SECONDS` (`sp`), `abort` (`a`), `clearbuttonabort` (`cba`),
/// `status` (`s`), `homedstatus` (`hss`), `errors` (`e`), `version` (`v`) and `whoami`. `ACK! command number` comes
/// first, then lines, then `OK!`, `ERROR!` or `ABORTED!` with the same. `status` and another motion wait until the rotor
/// has stopped; all else is answered meanwhile. `abort` ends what moves and what waits to, at once, though the rotor
/// still has to come to rest; motions are then `ABORTED!` until `clearbuttonabort`.
pub(super) struct MicroSpin {
    pace: Pace,
    /// Whether a spin below 30 g never ends.
    hangs: bool,
    homed: bool,
    spindle: u32,
    door: i32,
    latched: bool,
    last_number: u64,
    failures: usize,
    /// The last of them.
    errors: Vec<String>,
    uptime: Duration,
    running: Option<Running>,
    queue: VecDeque<Queued>,
}

/// What moves. Once it is aborted, it only comes to rest.
struct Running {
    job: Job,
    /// The command and its number.
    told: String,
    /// Never, if the sensor that tells that the rotor stands still does not notice.
    ends: Option<Duration>,
    aborted: bool,
}

/// What waits for the rotor to stop, and when its acknowledgement is out: it is not answered before that.
struct Queued {
    job: Job,
    told: String,
    acknowledged: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Status,
    Home,
    Open,
    Spin { g: u32, acceleration: u32, deceleration: u32, seconds: u32 },
}

/// As its drives count, after homing and with the door closed and open.
const SPINDLE_HOME: u32 = 1958;
const SPINDLE_TURN: u32 = 8192;
const DOOR_CLOSED: i32 = -258;
const DOOR_OPEN: i32 = 19_242;

/// The manual's, and the driver's warning.
const MOST_G: u32 = 3000;
const LOW_G: u32 = 30;

/// As many errors as are listed.
const LISTED: usize = 10;

impl Job {
    /// On the real device. Ours, but for the spin.
    fn seconds(self) -> f64 {
        match self {
            Job::Status => 0.0,
            Job::Home => 15.0,
            Job::Open => 5.0,
            Job::Spin { g, acceleration, seconds, .. } => {
                // Ours: 10 s to 1000 g at full acceleration.
                10.0 * root(g) * 100.0 / f64::from(acceleration) + f64::from(seconds) + self.rest()
            }
        }
    }

    /// What the rotor needs to come to rest. From 1000 g at 20 % it was about 7 minutes on a real one, and more than 30 at
    /// 10 %: as the inverse of the square.
    fn rest(self) -> f64 {
        match self {
            Job::Spin { g, deceleration, .. } => 16.8 * root(g) * (100.0 / f64::from(deceleration)).powi(2),
            Job::Status | Job::Home | Job::Open => 0.0,
        }
    }
}

/// How fast it turns at `g`, as a part of 1000 g.
fn root(g: u32) -> f64 {
    (f64::from(g) / 1000.0).sqrt()
}

/// What comes of a command, after its acknowledgement.
enum Outcome {
    Done(Vec<String>),
    Job(Job),
    Failed(String),
    Aborted,
    Abort,
}

impl MicroSpin {
    pub(super) fn given(given: &Given<'_>) -> Result<Box<dyn Instrument>, String> {
        Ok(Box::new(MicroSpin {
            pace: given.pace()?,
            hangs: given.flag("hangs", false)?,
            homed: false,
            spindle: 0,
            door: DOOR_CLOSED,
            latched: false,
            last_number: 0,
            failures: 0,
            errors: Vec::new(),
            uptime: Duration::ZERO,
            running: None,
            queue: VecDeque::new(),
        }))
    }

    fn outcome(&mut self, command: &str) -> Outcome {
        let mut words = command.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        match (name, words.as_slice()) {
            ("status" | "s", []) => Outcome::Job(Job::Status),
            ("homedstatus" | "hss", []) => {
                Outcome::Done(vec![if self.homed { "homed" } else { "not homed" }.to_owned()])
            }
            ("errors" | "e", []) => Outcome::Done(self.listed(LISTED)),
            ("errors" | "e", [most]) if most.parse::<usize>().is_ok() => {
                Outcome::Done(self.listed(most.parse().unwrap_or(LISTED)))
            }
            ("version" | "v", []) => Outcome::Done(vec!["Product Name: MicroSpin".to_owned()]),
            ("whoami", []) => Outcome::Done(vec!["1".to_owned()]),
            ("abort" | "a", []) => Outcome::Abort,
            ("clearbuttonabort" | "cba", []) => {
                self.latched = false;
                Outcome::Done(Vec::new())
            }
            ("home", []) => self.unless_latched(Job::Home),
            ("open", [bucket]) => match *bucket {
                _ if self.latched => Outcome::Aborted,
                "1" | "2" => self.if_homed(Job::Open),
                _ => Outcome::Failed(format!("bucket must be 1 or 2, got {bucket}")),
            },
            ("spin" | "sp", [g, acceleration, deceleration, seconds]) => {
                let numbers: Result<Vec<u32>, _> =
                    [g, acceleration, deceleration, seconds].into_iter().map(|word| word.parse::<u32>()).collect();
                match numbers.as_deref() {
                    Ok(&[g, acceleration, deceleration, seconds]) => self.spin(g, acceleration, deceleration, seconds),
                    _ => Outcome::Failed(format!("spin params must be integers, got {}", words.join(" "))),
                }
            }
            _ => Outcome::Failed(match parameters(name) {
                Some(count) => {
                    let given = words.len();
                    format!(
                        "Abnormal number of parameters ({given}) for command \"{name}\".  Min: {count}, Max: {count}"
                    )
                }
                None => format!("Command \"{name}\" not recognized!"),
            }),
        }
    }

    fn spin(&self, g: u32, acceleration: u32, deceleration: u32, seconds: u32) -> Outcome {
        let percent = 1..=100;
        match () {
            () if !(1..=MOST_G).contains(&g) => Outcome::Failed(format!("g out of range: {g}")),
            () if !percent.contains(&acceleration) => {
                Outcome::Failed(format!("acceleration out of range: {acceleration}"))
            }
            () if !percent.contains(&deceleration) => {
                Outcome::Failed(format!("deceleration out of range: {deceleration}"))
            }
            () if seconds < 1 => Outcome::Failed(format!("duration too short: {seconds}")),
            () => self.if_homed(Job::Spin { g, acceleration, deceleration, seconds }),
        }
    }

    fn unless_latched(&self, job: Job) -> Outcome {
        if self.latched { Outcome::Aborted } else { Outcome::Job(job) }
    }

    /// A motion that waits for the homing counts on it.
    fn if_homed(&self, job: Job) -> Outcome {
        let homing = |job: &Job| matches!(job, Job::Home);
        let will_be = self.running.as_ref().is_some_and(|running| !running.aborted && homing(&running.job))
            || self.queue.iter().any(|queued| homing(&queued.job));
        if self.homed || will_be { self.unless_latched(job) } else { Outcome::Failed("device is not homed".to_owned()) }
    }

    fn listed(&self, most: usize) -> Vec<String> {
        self.errors.iter().skip(self.errors.len().saturating_sub(most)).cloned().collect()
    }

    /// The time of day is ours: it was midnight when it was put into service.
    fn failed(&mut self, text: &str, told: &str) -> Vec<String> {
        let seconds = self.uptime.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        self.failures += 1;
        self.errors = self.listed(LISTED - 1);
        self.errors.push(format!("Error {}: ({hours:02}:{minutes:02}:{seconds:02}) -12: {text}", self.failures));
        let mut lines = self.listed(LISTED);
        lines.push(format!("ERROR! {told}"));
        lines
    }

    fn take_on(&mut self, job: Job, told: String) -> Vec<String> {
        if self.running.is_some() {
            self.queue.push_back(Queued { job, told, acknowledged: self.uptime + PROMPT * 2 });
            return Vec::new();
        }
        if let Job::Status = job {
            let report = [format!("Spindle Position: {}", self.spindle), format!("Door Position: {}", self.door)];
            return report.into_iter().chain([format!("OK! {told}")]).collect();
        }
        let hangs = self.hangs && matches!(job, Job::Spin { g, .. } if g < LOW_G);
        let ends = (!hangs).then(|| self.pace.ends(self.uptime, job.seconds()));
        self.running = Some(Running { job, told, ends, aborted: false });
        Vec::new()
    }

    /// What is said of what is cut short; what waits for the rotor to stop goes on waiting.
    fn abort(&mut self) -> Vec<String> {
        let mut cut = Vec::new();
        if let Some(running) = &mut self.running
            && !running.aborted
        {
            running.aborted = true;
            running.ends = Some(self.pace.ends(self.uptime, running.job.rest()));
            cut.push(format!("ABORTED! {}", running.told));
        }
        self.queue.retain(|queued| {
            let stays = matches!(queued.job, Job::Status);
            if !stays {
                cut.push(format!("ABORTED! {}", queued.told));
            }
            stays
        });
        self.latched = true;
        cut
    }

    fn end(&mut self, running: Running) -> Option<String> {
        match running.job {
            Job::Spin { g, .. } => {
                (self.spindle, self.door) = ((self.spindle + g) % SPINDLE_TURN, DOOR_CLOSED);
            }
            Job::Home if !running.aborted => {
                (self.homed, self.spindle, self.door) = (true, SPINDLE_HOME, DOOR_CLOSED);
            }
            Job::Open if !running.aborted => self.door = DOOR_OPEN,
            Job::Home | Job::Open | Job::Status => {}
        }
        (!running.aborted).then(|| format!("OK! {}", running.told))
    }
}

/// How many the command wants.
fn parameters(name: &str) -> Option<usize> {
    match name {
        "status" | "s" | "homedstatus" | "hss" | "version" | "v" | "whoami" | "abort" | "a" => Some(0),
        "clearbuttonabort" | "cba" | "home" => Some(0),
        "open" | "errors" | "e" => Some(1),
        "spin" | "sp" => Some(4),
        _ => None,
    }
}

impl Instrument for MicroSpin {
    fn hear(&mut self, command: &[u8]) -> Vec<Say> {
        let command = String::from_utf8_lossy(command).trim().to_owned();
        if command.is_empty() {
            return Vec::new();
        }
        self.last_number += 1;
        let told = format!("{command} {}", self.last_number);
        let mut said = vec![format!("ACK! {told}")];
        match self.outcome(&command) {
            Outcome::Done(report) => {
                said.extend(report);
                said.push(format!("OK! {told}"));
            }
            Outcome::Job(job) => said.extend(self.take_on(job, told)),
            Outcome::Failed(text) => said.extend(self.failed(&text, &told)),
            Outcome::Aborted => said.push(format!("ABORTED! {told}")),
            Outcome::Abort => {
                said.extend(self.abort());
                said.push("Issue the \"clearbuttonabort\" (cba) command to re-enable the machine".to_owned());
                said.push(format!("OK! {told}"));
            }
        }
        lines(PROMPT, said)
    }

    fn framing(&self) -> Framing {
        Lines::default().into()
    }

    fn power_on(&mut self) -> Vec<Say> {
        // It does not know where its rotor is, and counts anew.
        (self.homed, self.latched, self.last_number) = (false, false, 0);
        self.running = None;
        self.queue.clear();
        (self.failures, self.errors) = (0, Vec::new());
        Vec::new()
    }

    fn wakes_at(&self) -> Option<Duration> {
        self.running.as_ref().and_then(|running| running.ends)
    }

    fn wake(&mut self, uptime: Duration) -> Vec<Say> {
        self.uptime = uptime;
        if self.wakes_at().is_none_or(|ends| ends > uptime) {
            return Vec::new();
        }
        let said = self.running.take().and_then(|running| self.end(running));
        let mut says = lines(Duration::ZERO, said);
        while self.running.is_none()
            && let Some(Queued { job, told, acknowledged }) = self.queue.pop_front()
        {
            says.extend(lines(acknowledged.saturating_sub(uptime), self.take_on(job, told)));
        }
        says
    }
}
