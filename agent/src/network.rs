//! From an assignment to this machine's part in its network: the node, and the keys by which other machines know it.

use std::collections::BTreeSet;
use std::path::Path;

use hobnail_core::assign::Assignment;
use hobnail_core::envelope::Keyring;
use hobnail_core::ids::Name;
use hobnail_core::node::{Common, Identity, Node, Saved, Settings};
use hobnail_core::time::Now;

use crate::keys::{KeyError, load_keyring};
use crate::links::tls::{Pins, PinsError};

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Pins(#[from] PinsError),
}

/// What `wanted` seals with and whom its links trust; `None` where no other machine is in the network.
pub fn trust(wanted: &Assignment, key_directory: &Path) -> Result<Option<(Keyring, Pins)>, NetworkError> {
    let Some(keys) = &wanted.keys else { return Ok(None) };
    let others: BTreeSet<&Name> = wanted.links.keys().chain(wanted.peers.keys()).collect();
    if others.is_empty() {
        return Ok(None);
    }
    let keyring = load_keyring(&wanted.network, keys, key_directory)?;
    let seeds = |name: &Name| keyring.ids().filter_map(|id| keyring.link_seed(id, name)).collect::<Vec<_>>();
    let pins = Pins::new(&wanted.me, others, seeds)?;
    Ok(Some((keyring, pins)))
}

/// Whether other machines that run an agent are in the network of `wanted`.
#[must_use]
pub fn has_others(wanted: &Assignment) -> bool {
    !wanted.links.is_empty() || !wanted.peers.is_empty()
}

/// The node of `wanted`, and whom its links trust; `None` where no other machine is in the network.
pub fn network(
    wanted: &Assignment,
    common: Common,
    key_directory: &Path,
    identity: &Identity,
    saved: Saved,
    now: Now,
) -> Result<Option<(Node, Pins)>, NetworkError> {
    let Some((keyring, pins)) = trust(wanted, key_directory)? else { return Ok(None) };
    let settings = Settings::of(wanted, keyring, common);
    Ok(Some((Node::new(settings, identity, saved, now), pins)))
}
