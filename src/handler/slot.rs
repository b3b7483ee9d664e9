//! The limit on requests at once of one peer behind a proxy.

use std::{collections::HashMap, net::IpAddr, sync::Mutex};

use super::Handler;
use crate::{
    lock::lock,
    peer::{self, Network},
};

impl Handler {
    /// Takes a slot for a request of `peer`, which is behind a proxy. Each such peer has this many `slots`.
    pub(super) fn slot_for(&self, peer: IpAddr, slots: usize) -> Result<PeerSlot<'_>, TooManyOfPeer> {
        let (peer, mut proxied) = (peer::network(peer), lock(&self.proxied));
        let under_way = proxied.entry(peer).or_default();
        if *under_way >= slots {
            return Err(TooManyOfPeer);
        }
        *under_way += 1;
        Ok(PeerSlot { peer, proxied: &self.proxied })
    }
}

/// The slot of one request among those of its peer.
pub(super) struct PeerSlot<'h> {
    peer: Network,
    proxied: &'h Mutex<HashMap<Network, usize>>,
}

pub(super) struct TooManyOfPeer;

impl Drop for PeerSlot<'_> {
    fn drop(&mut self) {
        let mut proxied = lock(self.proxied);
        if let Some(under_way) = proxied.get_mut(&self.peer) {
            *under_way -= 1;
            if *under_way == 0 {
                proxied.remove(&self.peer);
            }
        }
    }
}
