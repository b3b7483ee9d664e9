//! Notifications to systemd, if it started this process.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::warn;

use crate::server::workers::Workers;

/// Notifies systemd, if it started this process, that the server is alive, as often as its watchdog asks, and that it
/// is about to stop.
pub(super) async fn tell_systemd(mut terminations: watch::Receiver<u32>, workers: Arc<Workers>) {
    let mut alive = sd_notify::watchdog_enabled().map(|patience| tokio::time::interval(patience / 2));
    loop {
        let tick = async {
            match &mut alive {
                Some(alive) => {
                    alive.tick().await;
                    workers.are_alive().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tick => notify(&[NotifyState::Watchdog]),
            terminated = terminations.changed() => match terminated {
                Ok(()) => notify(&[NotifyState::Stopping]),
                Err(_) => return,
            },
        }
    }
}

/// Notifies systemd. Without systemd, this does nothing.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}
