mod config;
mod conflicts;
mod held;

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;

use super::{
    output::{list, pairs, table},
    query::Query,
};
use crate::{
    api::{LookupTableStatus, MasqueradeStatus, PodMtu, Request, Response, RouteCounts, Status},
    model::EncapsulationMode,
};

/// Arguments of `node-agent status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    query: Query,
}

/// Shows how the agent and its datapath are.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Status(status) = response { Some(status) } else { None };
    args.query.show(&Request::Status, take, |status| show(status)).await
}

fn show(status: &Status) -> String {
    let mut sections = vec![summary(status), sources(status)];
    if !status.attachments.is_empty() {
        sections.push(attachments(status));
    }
    if !status.maps.is_empty() {
        sections.push(maps(status));
    }
    if !status.path_mtus.is_empty() {
        sections.push(path_mtus(status));
    }
    sections.extend(config::differences(&status.config));
    sections.extend(held::held(&status.brake));
    if !status.reconcile.pending.is_empty() {
        sections.push(pending(status));
    }
    sections.extend(conflicts::conflicts(status));
    if !status.problems.is_empty() {
        let problems: String = status.problems.iter().map(|problem| format!("- {problem}\n")).collect();
        sections.push(format!("PROBLEMS\n{problems}"));
    }
    sections.join("\n")
}

fn summary(status: &Status) -> String {
    let agent = format!(
        "version {}, process {}, up {}, layout {}",
        status.version,
        status.pid,
        seconds(status.uptime_seconds),
        status.layout_version
    );
    pairs([
        ("Node", status.node.to_string()),
        ("Addresses", list(&status.addresses)),
        ("Host address", list(&status.host_addresses)),
        ("Agent", agent),
        ("State", state(status)),
        ("Encapsulation", encapsulation(status.encapsulation).to_owned()),
        ("Pod MTU", pod_mtu(&status.pod_mtu)),
        ("Routes", routes(status.routes)),
        ("Lookup table", lookup_table(status.lookup_table)),
        ("Masquerade", masquerade(status.masquerade)),
        ("Reconciled", reconciled(status)),
        ("Config", config::state(&status.config)),
        ("Log", status.log.clone()),
        ("Program log", status.program_log.to_string()),
        ("Trace", trace(status.trace_clients)),
    ])
}

fn trace(clients: usize) -> String {
    match clients {
        0 => "off".to_owned(),
        1 => "on, for 1 client".to_owned(),
        clients => format!("on, for {clients} clients"),
    }
}

/// The state in a few words: the worst first.
pub(super) fn state(status: &Status) -> String {
    let (pending, problems) = (status.reconcile.pending_total, status.problems.len());
    let failed = status.sources.iter().filter(|source| source.error.is_some()).count();
    if !status.synced {
        "waiting for its sources: nothing is deleted before they have told everything".to_owned()
    } else if failed + pending + problems > 0 {
        format!("{failed} sources failed, {pending} changes pending, {problems} problems (below)")
    } else {
        "in step".to_owned()
    }
}

fn encapsulation(mode: EncapsulationMode) -> &'static str {
    match mode {
        EncapsulationMode::Never => "never",
        EncapsulationMode::Always => "always",
        EncapsulationMode::CrossSubnet => "cross-subnet",
    }
}

fn pod_mtu(mtu: &PodMtu) -> String {
    match mtu.bytes {
        Some(bytes) => format!("{bytes} ({})", mtu.from),
        None => mtu.from.clone(),
    }
}

pub(super) fn routes(counts: RouteCounts) -> String {
    let RouteCounts { local, direct, ipip, host, unassigned } = counts;
    format!("{local} local, {direct} direct, {ipip} ipip, {host} host, {unassigned} unassigned")
}

fn lookup_table(status: LookupTableStatus) -> String {
    let LookupTableStatus { chunks, max_chunks, left_to_trie } = status;
    match left_to_trie {
        0 => format!("{chunks} of {max_chunks} chunks"),
        cells => format!("{chunks} of {max_chunks} chunks, {cells} cells are left to the trie (slower)"),
    }
}

fn masquerade(status: MasqueradeStatus) -> String {
    let MasqueradeStatus { on, in_place, local_pods, cluster } = status;
    match (on, in_place) {
        (true, true) => format!("on, from {local_pods} prefixes of pods, except to {cluster} of the cluster"),
        (true, false) => "on, not in place".to_owned(),
        (false, true) => "off, still in place".to_owned(),
        (false, false) => "off".to_owned(),
    }
}

fn reconciled(status: &Status) -> String {
    let mut text = format!("{} passes", status.reconcile.passes);
    if let Some(duration) = status.reconcile.last_duration_ms {
        text.push_str(&format!(", the last one took {duration} ms"));
    }
    match status.reconcile.last_change_seconds_ago {
        Some(ago) => text.push_str(&format!(", last change {} ago", seconds(ago))),
        None => text.push_str(", no change yet"),
    }
    text
}

fn sources(status: &Status) -> String {
    let rows = status.sources.iter().map(|source| {
        let state = match &source.error {
            // The table shows the first line; all lines follow below it.
            Some(_) => "failed (below)",
            None if source.synced => "synced",
            None => "waiting",
        };
        [
            source.source.to_string(),
            source.place.clone(),
            source.objects.nodes.to_string(),
            source.objects.pods.to_string(),
            state.to_owned(),
        ]
    });
    let mut text = table(["SOURCE", "PLACE", ">NODES", ">PODS", "STATE"], rows);
    for (source, error) in status.sources.iter().filter_map(|source| Some((source, source.error.as_ref()?))) {
        text.push_str(&format!("\nsource {}: {}\n", source.source, error.trim_end()));
    }
    text
}

fn attachments(status: &Status) -> String {
    let rows = status
        .attachments
        .iter()
        .map(|row| [row.interface.clone(), row.hook.clone(), row.method.clone(), row.program_id.to_string()]);
    table(["INTERFACE", "HOOK", "METHOD", ">PROGRAM"], rows)
}

fn maps(status: &Status) -> String {
    let rows = status
        .maps
        .iter()
        .map(|map| [map.name.clone(), map.entries.to_string(), map.max_entries.to_string()]);
    table(["MAP", ">ENTRIES", ">ROOM FOR"], rows)
}

fn path_mtus(status: &Status) -> String {
    let rows = status.path_mtus.iter().map(|row| {
        [
            row.node_address.to_string(),
            row.bytes.to_string(),
            row.router.to_string(),
            seconds(row.seconds_left),
        ]
    });
    table(["NODE ADDRESS", ">PATH MTU", "TOLD BY ROUTER", "HOLDS FOR"], rows)
}

fn pending(status: &Status) -> String {
    let rows = status.reconcile.pending.iter().map(|change| {
        [
            change.change.clone(),
            change.attempts.to_string(),
            seconds(change.next_retry_seconds),
            change.error.clone(),
        ]
    });
    let shown = table(["PENDING CHANGE", ">TRIES", "NEXT IN", "ERROR"], rows);
    match status.reconcile.pending_total.saturating_sub(status.reconcile.pending.len()) {
        0 => shown,
        more => format!("{shown}and {more} more\n"),
    }
}

pub(super) fn seconds(seconds: u64) -> String {
    format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        api::{
            AttachmentRow, BrakeStatus, ConfigStatus, MapRow, ObjectCounts, PathMtuRow, PendingChange,
            ReconcileStatus, SourceStatus,
        },
        config::{ProgramLog, SettingChange},
        model::SourceId,
    };

    pub(in crate::cli) fn status() -> Status {
        Status {
            node: "a1".parse().unwrap(),
            pid: 42,
            version: "0.1.0".to_owned(),
            layout_version: 1,
            uptime_seconds: 182,
            synced: true,
            sources: vec![SourceStatus {
                source: SourceId::FILE,
                place: "/etc/podroute/cluster.yaml".to_owned(),
                synced: true,
                error: None,
                read_us: Some(900),
                objects: ObjectCounts { nodes: 3, pods: 6, routes: 0 },
            }],
            encapsulation: EncapsulationMode::CrossSubnet,
            addresses: vec!["10.0.1.11".parse().unwrap()],
            host_addresses: vec!["10.244.1.1".parse().unwrap(), "fd00:10:244:1::1".parse().unwrap()],
            pod_mtu: PodMtu {
                bytes: Some(1480),
                from: "eth0 has 1500, less 20 for an outer header".to_owned(),
            },
            attachments: vec![AttachmentRow {
                interface: "eth0".to_owned(),
                hook: "to-uplink".to_owned(),
                method: "tcx".to_owned(),
                program_id: 77,
            }],
            maps: vec![MapRow { name: "ROUTES_V4".to_owned(), entries: 9, max_entries: 1_048_576 }],
            lookup_table: LookupTableStatus { chunks: 259, max_chunks: 32_768, left_to_trie: 0 },
            path_mtus: vec![],
            routes: RouteCounts { local: 2, direct: 1, ipip: 1, host: 2, unassigned: 1 },
            problems: vec![],
            conflicts: vec![],
            brake: BrakeStatus::default(),
            masquerade: MasqueradeStatus { on: true, in_place: true, local_pods: 1, cluster: 6 },
            reconcile: ReconcileStatus {
                pending_total: 0,
                passes: 7,
                last_change_seconds_ago: Some(61),
                last_duration_ms: Some(3),
                last_pass: None,
                last_changing_pass: None,
                pending: vec![],
            },
            config: ConfigStatus {
                file: "/etc/podroute/agent.yaml".to_owned(),
                read: SystemTime::UNIX_EPOCH,
                error: None,
                needs_restart: vec![],
            },
            log: "info".to_owned(),
            program_log: ProgramLog::Off,
            trace_clients: 0,
        }
    }

    #[test]
    fn a_good_status_fits_a_screen() {
        assert_eq!(
            show(&status()),
            "Node           a1\n\
             Addresses      10.0.1.11\n\
             Host address   10.244.1.1, fd00:10:244:1::1\n\
             Agent          version 0.1.0, process 42, up 3m 2s, layout 1\n\
             State          in step\n\
             Encapsulation  cross-subnet\n\
             Pod MTU        1480 (eth0 has 1500, less 20 for an outer header)\n\
             Routes         2 local, 1 direct, 1 ipip, 2 host, 1 unassigned\n\
             Lookup table   259 of 32768 chunks\n\
             Masquerade     on, from 1 prefixes of pods, except to 6 of the cluster\n\
             Reconciled     7 passes, the last one took 3 ms, last change 1m 1s ago\n\
             Config         /etc/podroute/agent.yaml is in force\n\
             Log            info\n\
             Program log    off\n\
             Trace          off\n\
             \n\
             SOURCE  PLACE                       NODES  PODS  STATE\n\
             file    /etc/podroute/cluster.yaml      3     6  synced\n\
             \n\
             INTERFACE  HOOK       METHOD  PROGRAM\n\
             eth0       to-uplink  tcx          77\n\
             \n\
             MAP        ENTRIES  ROOM FOR\n\
             ROUTES_V4        9   1048576\n"
        );
    }

    #[test]
    fn what_routers_told_is_shown() {
        let mut status = status();
        status.path_mtus.push(PathMtuRow {
            node_address: "10.0.2.11".parse().unwrap(),
            bytes: 1400,
            router: "10.0.1.1".parse().unwrap(),
            seconds_left: 552,
        });
        let text = show(&status);
        let expected = "\nNODE ADDRESS  PATH MTU  TOLD BY ROUTER  HOLDS FOR\n10.0.2.11         1400  10.0.1.1        9m 12s\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_is_wrong_is_shown() {
        let mut status = status();
        status.sources[0].error = Some("cannot use cluster.yaml:\ncluster.yaml:3:1: nodes: empty".to_owned());
        status.reconcile.pending_total = 1;
        status.reconcile.pending.push(PendingChange {
            change: "kernel route 10.244.2.0/24".to_owned(),
            error: "network is down".to_owned(),
            attempts: 3,
            next_retry_seconds: 4,
        });
        status.masquerade = MasqueradeStatus { on: true, ..MasqueradeStatus::default() };
        status.trace_clients = 2;
        status.lookup_table.left_to_trie = 7;
        status.problems.push("node c1 is not adjacent".to_owned());
        status.config.error = Some("agent.yaml:3:6: log: no filter".to_owned());
        let [setting, before, now] = ["xdp", "off", "decap"].map(str::to_owned);
        status.config.needs_restart.push(SettingChange { setting, before, now });
        let text = show(&status);
        for part in [
            "State          1 sources failed, 1 changes pending, 1 problems (below)\n",
            "3     6  failed (below)\n\nsource file: cannot use cluster.yaml:\ncluster.yaml:3:1: nodes: empty\n",
            "Masquerade     on, not in place\n",
            "Lookup table   259 of 32768 chunks, 7 cells are left to the trie (slower)\n",
            "PENDING CHANGE              TRIES  NEXT IN  ERROR\nkernel route 10.244.2.0/24      3  4s       network is down\n",
            "Trace          on, for 2 clients\n",
            "Config         /etc/podroute/agent.yaml is not in force as it is now (below)\n",
            "configuration: agent.yaml:3:6: log: no filter\n\nNEEDS A RESTART  IN FORCE  IN THE FILE\nxdp ",
            "PROBLEMS\n- node c1 is not adjacent\n",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
        status.synced = false;
        assert!(show(&status).contains("State          waiting for its sources"));
    }

    /// One concept, one word: the table has the names that the file and the JSON have.
    #[test]
    fn modes_have_one_name() {
        for mode in [EncapsulationMode::Never, EncapsulationMode::Always, EncapsulationMode::CrossSubnet] {
            assert_eq!(serde_json::to_value(mode).unwrap(), encapsulation(mode));
        }
    }
}
