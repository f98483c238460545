use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::{
    api::{Request, Response, ask},
    config::{Config, ConfigError, XdpMode},
    doctor::facts::{AgentFact, FileFacts},
    masquerade::Nft,
    model::{AddressFamily, HostView, SourceUpdate},
    rib::{ResolveSettings, Table, resolve, select},
    source::{self, file},
    state_dir, yaml,
};

/// The cluster state, as it would be used on this host.
#[derive(Default)]
pub(super) struct Cluster {
    /// The files, and what is wrong with each.
    read: Vec<(PathBuf, Result<(), String>)>,
    /// What does not fit.
    problems: Vec<String>,
    /// Names of the uplinks.
    pub(super) uplinks: Vec<String>,
    /// Whether there is IPv6; none if that is not known.
    pub(super) has_v6: Option<bool>,
}

/// Reads the cluster state and decides on it as the agent would.
pub(super) fn cluster(config: &Config, view: &HostView) -> Cluster {
    let mut table = Table::new([]);
    let mut files = Vec::new();
    for (path, part) in source::parts(&config.sources) {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let read = yaml::read(path).map_err(|error| error.to_string());
        let state = read.and_then(|text| file::parse(&text, &name, &part).map_err(|error| error.to_string()));
        for event in state.iter().flat_map(file::everything) {
            table.apply(SourceUpdate { source: part.source.clone(), event });
        }
        files.push((path.to_owned(), state.map(drop)));
    }
    // Of a part nobody can tell what fits.
    if files.iter().any(|(_, read)| read.is_err()) {
        return Cluster { read: files, ..Cluster::default() };
    }
    let v6 = |address: &std::net::IpAddr| address.is_ipv6();
    let has_v6 = table.nodes().any(|node| {
        node.addresses.iter().any(v6)
            || node.pod_prefixes.iter().any(|prefix| prefix.family() == AddressFamily::V6)
    });
    let selection = select(&table, &config.node);
    let settings = ResolveSettings {
        uplinks: config.uplinks.clone(),
        source_check: config.source_check,
        xdp: config.xdp != XdpMode::Off,
        pod_mtu: config.pod_mtu,
    };
    let resolved = resolve(&selection, view, &settings);
    let problems = selection.problems.iter().chain(&resolved.problems).map(ToString::to_string);
    let found = resolved.wanted.host.uplinks.iter().cloned();
    // Those that do not exist are told of, too.
    let missing = config.uplinks.iter().filter(|name| !resolved.wanted.host.uplinks.contains(*name)).cloned();
    Cluster {
        read: files,
        problems: problems.collect(),
        uplinks: found.chain(missing).collect(),
        has_v6: Some(has_v6),
    }
}

pub(super) async fn look(
    loaded: &Option<(&Path, Result<Config, ConfigError>)>,
    cluster: Option<Cluster>,
) -> FileFacts {
    let Some((path, loaded)) = loaded else { return FileFacts::default() };
    let result = loaded.as_ref().map(|_| ()).map_err(ToString::to_string);
    let mut facts = FileFacts { config: Some((path.to_path_buf(), result)), ..FileFacts::default() };
    let Ok(config) = loaded else { return facts };
    if let Some(Cluster { read, problems, .. }) = cluster {
        facts.states = read;
        facts.problems = problems;
    }
    facts.state_dir = Some((config.state_dir.clone(), state_dir(&config.state_dir)));
    if config.masquerade {
        facts.nft = Some(Nft::system().list().await.map(drop).map_err(|error| error.to_string()));
    }
    facts
}

/// Whether the agent can use the folder, or make it where there is none yet.
fn state_dir(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        return state_dir::check(folder).map_err(|error| error.to_string());
    }
    let above = folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    access(above, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| format!("cannot make {} in {}: {}", folder.display(), above.display(), errno.desc()))
}

/// The agent that answers at this socket.
pub(super) async fn agent(socket: &Path) -> Option<AgentFact> {
    match ask(socket, &Request::Status).await {
        Ok(Response::Status(status)) => Some(AgentFact {
            version: status.version,
            synced: status.synced,
            pending: status.reconcile.pending.len(),
            problems: status.problems.len(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_that_is_not_there_yet_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("var/podroute");
        assert_eq!(state_dir(&wanted), Ok(()));
        assert!(!folder.path().join("var").exists());
        std::fs::write(folder.path().join("var"), "").unwrap();
        assert!(state_dir(&wanted).is_err(), "a file is in the way");
    }
}
