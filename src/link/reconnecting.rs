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
    while comes_back(link, &end) {
        let cause = Arc::new(part(at, &mut actor, end));
        let pipe = actor.unplug();
        close_pipe(link, session, at.place, pipe, berth.take()).await;
        let policy = link.config.rules.reconnect.clone().unwrap_or(ONCE);
        let mut seat = pin!(session.desk.seat(actor));
        let mut way = pin!(find_back(at, &policy));
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
        if found.is_none() {
            // Told to end, it gives the actor back.
            session.close(Closing::Stopped);
        }
        (actor, end) = seat.await?;
        match found {
            Some(found) => berth = found,
            None => return Some((actor, End::Lost(io::Error::new(cause.kind(), cause.to_string())), None)),
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

/// Tries until there is a connection that is ready; `None`: given up.
async fn find_back(at: &Opening<'_>, policy: &Reconnect) -> Option<Option<Berth>> {
    let (link, clock) = (at.link, at.place.clock());
    let give_up = policy.give_up.map_or(Moment::NEVER, |span| clock.now() + span);
    let mut wait = policy.first;
    let mut said = false;
    loop {
        tokio::select! {
            () = clock.sleep(shortened(wait)) => {}
            () = at.session.give_up.cancelled() => return None,
        }
        match attempt(at).await {
            Ok(berth) => {
                link.enter(at.session, Phase::Open(at.session.clone()));
                link.log(Level::Info, format!("{} is back ({})", link.config.name, link.config.port));
                return Some(berth);
            }
            Err(why) => {
                link.trace.note(clock.stamp(), format!("not back: {why}"));
                // The first failure is worth a line, a thousand are not.
                if !std::mem::replace(&mut said, true) {
                    link.log(Level::Warning, format!("{} is not back yet: {why}", link.config.name));
                }
            }
        }
        if at.session.give_up.is_cancelled() {
            return None;
        }
        wait = wait.mul_f64(policy.factor).min(policy.limit);
        if clock.now() + wait >= give_up {
            link.log(Level::Error, format!("{} does not come back, and is given up", link.config.name));
            return None;
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
    if let Some(ready) = &link.config.ready
        && let Err(why) = ready().await
    {
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
