//! Which entry of the topology this machine is.

use std::env;

use hobnail_core::ids::{Name, NameError};
use hobnail_core::topology::Topology;
use hobnail_core::topology::model::Kind;

#[derive(Debug, thiserror::Error)]
pub enum WhoAmIError {
    #[error("`{0}` cannot be a machine's name: {1}")]
    BadName(String, NameError),
    #[error("this machine has no host name; say which machine it is with --name")]
    NoHostName,
}

/// `--name`, then `HOBNAIL_NAME`, then the host name up to its first dot.
pub fn whoami(named: Option<&str>) -> Result<Name, WhoAmIError> {
    let given = named.map(str::to_owned).or_else(|| env::var("HOBNAIL_NAME").ok()).filter(|name| !name.is_empty());
    let name = match given {
        Some(name) => name,
        None => host_name().ok_or(WhoAmIError::NoHostName)?,
    };
    Name::new(&name).map_err(|error| WhoAmIError::BadName(name, error))
}

/// The same within `topology`: where only one machine runs an agent there is nothing to choose, whatever the host is
/// called.
pub fn whoami_in(topology: &Topology, named: Option<&str>) -> Result<Name, WhoAmIError> {
    let mut agents = topology.machines.values().filter(|machine| !matches!(machine.kind, Kind::Device { .. }));
    match (agents.next(), agents.next()) {
        (Some(only), None) if named.is_none() && env::var_os("HOBNAIL_NAME").is_none() => Ok(only.name.clone()),
        _ => whoami(named),
    }
}

fn host_name() -> Option<String> {
    // Asked of the kernel: a service may not be shown /proc/sys.
    let names = rustix::system::uname();
    let short = names.nodename().to_str().ok()?.split('.').next()?.to_owned();
    (!short.is_empty()).then_some(short)
}
