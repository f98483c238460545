//! Looks at the machine. Changes nothing: programs are loaded without being attached, and a folder that is made to
//! see whether that can be done is removed at once.

mod files;
mod network;
mod others;
mod system;

use std::path::PathBuf;

use super::{Facts, facts::BpfFacts};
use crate::{
    config::{Config, DEFAULT_BPFFS, DEFAULT_SOCKET},
    datapath,
    host::{Host, HostError},
};

/// Where to look.
#[derive(Debug, Clone)]
pub struct Places {
    /// The agent's configuration.
    pub config: Option<PathBuf>,
    /// The BPF file system; none for that of the configuration.
    pub bpffs: Option<PathBuf>,
    /// The agent's socket; none for that of the configuration.
    pub socket: Option<PathBuf>,
    /// The folder of CNI configurations.
    pub cni: PathBuf,
}

/// Looks at everything.
///
/// # Errors
/// The host's network cannot be read.
pub async fn look(places: &Places) -> Result<Facts, HostError> {
    let view = Host::new().observe().await?;
    let loaded = places.config.as_deref().map(|path| (path, Config::load(path)));
    let config = loaded.as_ref().and_then(|(_, loaded)| loaded.as_ref().ok());
    let configured = |chosen: &Option<PathBuf>, of: fn(&Config) -> &PathBuf, default: &str| {
        chosen.clone().or_else(|| config.map(|config| of(config).clone())).unwrap_or_else(|| default.into())
    };
    let bpffs = configured(&places.bpffs, |config| &config.bpffs, DEFAULT_BPFFS);
    let socket = configured(&places.socket, |config| &config.socket, DEFAULT_SOCKET);
    let cluster = config.map(|config| files::cluster(config, &view));
    let uplinks = match (&cluster, config) {
        (Some(cluster), _) if !cluster.uplinks.is_empty() => cluster.uplinks.clone(),
        (_, Some(config)) if !config.uplinks.is_empty() => config.uplinks.clone(),
        _ => network::default_uplinks(&view),
    };
    Ok(Facts {
        system: system::system(),
        bpf: BpfFacts {
            programs: datapath::try_programs(),
            tcx: datapath::has_tcx(),
            attach: config.map(|config| config.attach).unwrap_or_default(),
            xdp: config.map(|config| config.xdp).unwrap_or_default(),
        },
        sysctls: network::sysctls(&view, cluster.as_ref().and_then(|cluster| cluster.has_v6)),
        uplinks: uplinks.iter().map(|name| network::uplink(name, &view, &bpffs)).collect(),
        others: others::look(&view, &places.cni).await,
        files: files::look(&loaded, cluster).await,
        agent: files::agent(&socket).await,
        bpffs: system::bpffs(bpffs),
    })
}
