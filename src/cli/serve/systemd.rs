//! What systemd is told, where it started us.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::warn;

use crate::server::workers::Workers;

/// Tells systemd, where it started us, that we are alive, as often as it wants to hear that, and that we are about to end.
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

/// Tells systemd something. Where there is none, there is nobody to tell.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}
