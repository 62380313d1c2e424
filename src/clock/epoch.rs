//! Waiting for a time of day: exact although the system's wall clock may be set meanwhile.

use std::time::Duration;

use super::Clock;
#[cfg(target_os = "linux")]
use crate::descriptor;
#[cfg(target_os = "linux")]
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

impl Clock {
    /// Waits until the wall clock shows `epoch` (time since 1970), whatever is done to that clock before. At once if it does already.
    ///
    /// *Cancel safety*: dropping the future forgets the wait.
    pub async fn sleep_until_epoch(&self, epoch: Duration) {
        if self.still().is_some() {
            self.sleep(epoch.saturating_sub(self.stamp().epoch)).await;
        } else {
            self.wall(epoch).await;
        }
    }

    /// The kernel keeps such a timer right when the clock is set (timerfd_create(2), CLOCK_REALTIME with an absolute time).
    #[cfg(target_os = "linux")]
    async fn wall(&self, epoch: Duration) {
        let armed = || -> std::io::Result<_> {
            let timer =
                rustix::time::timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
            // A time of zero would disarm it.
            let at = epoch.max(Duration::from_nanos(1));
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value =
                Timespec { tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX), tv_nsec: at.subsec_nanos().into() };
            let spec = Itimerspec { it_interval: zero, it_value: value };
            rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &spec)?;
            let registered = descriptor::register(&timer);
            Ok((descriptor::watched(timer)?, registered))
        };
        match armed() {
            // It becomes readable once; that is all there is to know.
            Ok((timer, _registered)) => drop(timer.readable().await),
            Err(_) => self.look_again(epoch).await,
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn wall(&self, epoch: Duration) {
        self.look_again(epoch).await;
    }

    /// Where no timer follows the wall clock: it is looked at this often, so that a step is noticed that late.
    async fn look_again(&self, epoch: Duration) {
        const EVERY: Duration = Duration::from_millis(100);
        loop {
            let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let left = epoch.saturating_sub(wall);
            if left.is_zero() {
                return;
            }
            self.sleep(left.min(EVERY)).await;
        }
    }
}
