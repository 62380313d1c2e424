//! The way back: a port that has gone is looked for and opened again, by the link's policy, while whoever waits goes on waiting.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::actor::{Actor, End};
use super::berths::Berth;
use super::job::Closing;
use super::log::Level;
use super::opener::Later;
use super::rules::Reconnect;
use super::session::{Opening, PATIENCE, close_pipe, open};
use super::{Link, Phase};
use crate::clock::Moment;

/// What is done on a new connection before anyone's exchange; `Err` says what went wrong.
pub type Ready = Arc<dyn Fn() -> Later<'static, Result<(), String>> + Send + Sync>;

/// Where a port was only to be opened anew: once, at once.
const ONCE: Reconnect =
    Reconnect { first: Duration::ZERO, factor: 1.0, limit: Duration::ZERO, give_up: Some(Duration::ZERO) };

/// Runs `actor` to its end, through as many connections as it takes. `None`: it was torn down.
pub(super) async fn serve(
    at: &Opening<'_>,
    actor: Actor,
    mut berth: Option<Berth>,
) -> Option<(Actor, End, Option<Berth>)> {
    let (link, session) = (at.link, at.session);
    let (mut actor, mut end) = session.desk.seat(actor).await?;
    let (mut search, mut came_back) = (None, false);
    while comes_back(link, &end) {
        if std::mem::take(&mut came_back) {
            search = None;
        }
        let cause = Arc::new(part(at, &mut actor, end));
        let pipe = actor.unplug();
        close_pipe(link, session, at.place, pipe, berth.take()).await;
        // A connection that is lost before it is ready does not begin the search anew.
        let search_on = search.get_or_insert_with(|| {
            let policy = link.config.rules.reconnect.clone().unwrap_or(ONCE);
            let give_up = policy.give_up.map_or(Moment::NEVER, |span| at.place.clock().now() + span);
            Search { wait: policy.first, policy, give_up, failed: None, said: false }
        });
        let mut seat = pin!(session.desk.seat(actor));
        let mut way = pin!(find_back(at, search_on));
        let found = tokio::select! {
            biased;
            ended = &mut seat => {
                (actor, end) = ended?;
                if session.give_up.is_cancelled() {
                    // An attempt under way ends before its link does.
                    let clock = at.place.clock();
                    let _ = clock.until(clock.now() + PATIENCE, way).await;
                }
                continue;
            }
            found = &mut way => found,
        };
        // The search may hear of the end before its actor does: then nothing was given up.
        let stopped = session.give_up.is_cancelled();
        if found.is_err() {
            // Told to end, it gives the actor back.
            session.close(Closing::Stopped);
        }
        (actor, end) = seat.await?;
        came_back = true;
        match found {
            Ok(found) => berth = found,
            Err(_) if stopped => return Some((actor, end, None)),
            Err(why) => {
                let lost = io::Error::new(cause.kind(), format!("{cause}; and then: {why}"));
                return Some((actor, End::Lost(lost), None));
            }
        }
    }
    Some((actor, end, berth))
}

fn comes_back(link: &Link, end: &End) -> bool {
    match end {
        End::Lost(_) => link.config.rules.reconnect.is_some(),
        End::Reopen => true,
        End::Closed(_) => false,
    }
}

/// The connection is over, the conversation is not. Gives the reason.
fn part(at: &Opening<'_>, actor: &mut Actor, end: End) -> io::Error {
    let (link, now) = (at.link, at.place.clock().stamp());
    let (cause, lost) = match end {
        End::Lost(cause) => (cause, true),
        End::Reopen | End::Closed(_) => (io::Error::other("it was closed to be opened anew"), false),
    };
    link.enter(at.session, Phase::Reconnecting(at.session.clone()));
    if lost {
        link.trace.note(now, format!("lost: {cause}"));
        link.log(Level::Warning, format!("{} is gone ({}): {cause}; reconnecting", link.config.name, link.config.port));
    } else {
        link.trace.note(now, "opened anew, to get back in step");
    }
    let told = Arc::new(io::Error::new(cause.kind(), cause.to_string()));
    actor.conversation.go_away(&told, lost, now);
    cause
}

/// How far the search for a port has come.
struct Search {
    policy: Reconnect,
    /// Before the next attempt.
    wait: Duration,
    give_up: Moment,
    /// Why the last attempt was in vain.
    failed: Option<String>,
    /// Whether that was said.
    said: bool,
}

/// Tries until there is a connection that is ready. Given up: why the last attempt failed.
async fn find_back(at: &Opening<'_>, search: &mut Search) -> Result<Option<Berth>, String> {
    let (link, clock) = (at.link, at.place.clock());
    loop {
        if let Some(why) = search.failed.take_if(|_| clock.now() + search.wait >= search.give_up) {
            link.log(Level::Error, format!("{} does not come back, and is given up", link.config.name));
            return Err(why);
        }
        let wait = search.wait;
        search.wait = wait.mul_f64(search.policy.factor).min(search.policy.limit);
        tokio::select! {
            () = clock.sleep(shortened(wait)) => {}
            () = at.session.give_up.cancelled() => return Err("it was stopped".to_owned()),
        }
        // Where it is, this is not heard to its end.
        search.failed = Some("it was lost again before it was ready".to_owned());
        match attempt(at).await {
            Ok(berth) => {
                link.enter(at.session, Phase::Open(at.session.clone()));
                link.log(Level::Info, format!("{} is back ({})", link.config.name, link.config.port));
                return Ok(berth);
            }
            Err(why) => {
                link.trace.note(clock.stamp(), format!("not back: {why}"));
                // The first failure is worth a line, a thousand are not.
                if !std::mem::replace(&mut search.said, true) {
                    link.log(Level::Warning, format!("{} is not back yet: {why}", link.config.name));
                }
                if at.session.give_up.is_cancelled() {
                    return Err(why);
                }
                search.failed = Some(why);
            }
        }
    }
}

async fn attempt(at: &Opening<'_>) -> Result<Option<Berth>, String> {
    let (link, session, clock) = (at.link, at.session, at.place.clock());
    let (mut pipe, berth) = open(at, false).await.map_err(|error| error.to_string())?;
    if berth.is_some() {
        pipe.discard_input();
    }
    if let Some(pipe) = session.desk.plug(pipe, clock.stamp()) {
        close_pipe(link, session, at.place, pipe, berth).await;
        return Err("nobody waits for it any more".to_owned());
    }
    link.trace.note(clock.stamp(), format!("open: {}", link.config.port));
    let readied = async {
        let Some(ready) = &link.config.ready else { return Ok(()) };
        tokio::select! {
            biased;
            readied = ready() => readied,
            // What is asked there fails by now, and so it ends soon.
            () = session.give_up.cancelled() => Err("it was stopped".to_owned()),
        }
    };
    if let Err(why) = readied.await {
        if let Some(pipe) = session.desk.unplug(clock.stamp()) {
            close_pipe(link, session, at.place, pipe, berth).await;
        }
        return Err(format!("it could not be readied: {why}"));
    }
    session.desk.open_to_all();
    Ok(berth)
}

/// Shorter by up to a fifth, at random.
fn shortened(wait: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().build_hasher().finish() % 1000).unwrap_or(0);
    wait.mul_f64(1.0 - 0.2 * f64::from(random) / 1000.0)
}
