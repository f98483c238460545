//! What a new configuration comes to for an agent that runs with another one.

use std::{
    fmt::{self, Display},
    net::SocketAddr,
};

use humantime_serde::re::humantime::format_duration;
use serde::{Deserialize, Serialize};

use super::{
    Config, StateFile,
    valid::{ATTACH_METHODS, LOG_FORMATS, SOURCE_CHECKS, SWITCH, XDP_MODES},
};
use crate::model::{BrakeSettings, PodMtu};

/// A setting that is another in the file than in the running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SettingChange {
    /// Its name, as in the file.
    pub setting: String,
    /// What the agent has, or had, as it could stand in the file.
    pub before: String,
    /// What the file says.
    pub now: String,
}

impl Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, before, now } = self;
        write!(f, "{setting} (from {before} to {now})")
    }
}

/// What a new configuration comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// The configuration to go on with: what can change while the agent runs is new, the rest is as it was.
    pub next: Config,
    /// What changes at once.
    pub changed: Vec<SettingChange>,
    /// What would change with the next start only.
    pub needs_restart: Vec<SettingChange>,
}

/// Decides what changes at once and what needs a restart.
#[must_use]
pub fn reload(old: &Config, new: &Config) -> Reload {
    // Every field, so that a new one has to be put in one of the two groups.
    let Config {
        node,
        sources,
        metrics,
        uplinks,
        bpffs,
        socket,
        attach,
        xdp,
        source_check,
        pod_mtu,
        masquerade,
        audit_interval,
        brake,
        state_dir,
        log,
        log_format,
        program_log,
    } = new;
    let (mut changed, mut fixed) = (Differences::default(), Differences::default());
    changed.add("uplinks", &old.uplinks, uplinks, |names| format!("[{}]", names.join(", ")));
    changed.add("source-check", &old.source_check, source_check, |one| name_of(one, SOURCE_CHECKS));
    changed.add("pod-mtu", &old.pod_mtu, pod_mtu, name_of_mtu);
    changed.add("masquerade", &old.masquerade, masquerade, |one| name_of(one, SWITCH));
    changed.add("audit-interval", &old.audit_interval, audit_interval, |time| time_as_text(*time));
    changed.add_brake(&old.brake, brake);
    changed.add("log", &old.log, log, Clone::clone);
    changed.add("program-log", &old.program_log, program_log, ToString::to_string);
    // What it stands on and has opened, is known by, or writes in.
    fixed.add("node", &old.node, node, ToString::to_string);
    fixed.add("sources", &old.sources, sources, |files| sources_as_text(files));
    fixed.add("metrics", &old.metrics, metrics, |listen| metrics_as_text(*listen));
    fixed.add("bpffs", &old.bpffs, bpffs, |path| path.display().to_string());
    fixed.add("socket", &old.socket, socket, |path| path.display().to_string());
    fixed.add("attach", &old.attach, attach, |one| name_of(one, ATTACH_METHODS));
    fixed.add("xdp", &old.xdp, xdp, |one| name_of(one, XDP_MODES));
    fixed.add("state-dir", &old.state_dir, state_dir, |path| path.display().to_string());
    fixed.add("log-format", &old.log_format, log_format, |one| name_of(one, LOG_FORMATS));
    let next = Config {
        uplinks: uplinks.clone(),
        source_check: *source_check,
        pod_mtu: *pod_mtu,
        masquerade: *masquerade,
        audit_interval: *audit_interval,
        brake: *brake,
        log: log.clone(),
        program_log: *program_log,
        ..old.clone()
    };
    Reload { next, changed: changed.0, needs_restart: fixed.0 }
}

#[derive(Default)]
struct Differences(Vec<SettingChange>);

impl Differences {
    fn add<T: PartialEq>(&mut self, setting: &str, before: &T, now: &T, text: impl Fn(&T) -> String) {
        if before != now {
            let (setting, before, now) = (setting.to_owned(), text(before), text(now));
            self.0.push(SettingChange { setting, before, now });
        }
    }

    fn add_brake(&mut self, before: &BrakeSettings, now: &BrakeSettings) {
        let BrakeSettings { share, at_least, release_after } = now;
        self.add("brake.share", &before.share, share, ToString::to_string);
        self.add("brake.at-least", &before.at_least, at_least, ToString::to_string);
        self.add("brake.release-after", &before.release_after, release_after, |time| time_as_text(*time));
    }
}

/// The word for one of the choices.
fn name_of<T: PartialEq>(one: &T, choices: &[(&str, T)]) -> String {
    let word = choices.iter().find(|choice| choice.1 == *one).map(|choice| choice.0);
    word.unwrap_or_default().to_owned()
}

fn name_of_mtu(mtu: &PodMtu) -> String {
    match mtu {
        PodMtu::Auto => "auto".to_owned(),
        PodMtu::Keep => "keep".to_owned(),
        PodMtu::Fixed(bytes) => bytes.to_string(),
    }
}

fn sources_as_text(files: &[StateFile]) -> String {
    let one = |file: &StateFile| {
        let StateFile { source, path } = file;
        format!("{} (preference {}) in {}", source.name(), source.preference(), path.display())
    };
    files.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn metrics_as_text(listen: Option<SocketAddr>) -> String {
    listen.map_or_else(|| "off".to_owned(), |listen| listen.to_string())
}

fn time_as_text(time: std::time::Duration) -> String {
    format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::config::valid;

    const REQUIRED: &str = "node: a1\nsource: {file: /srv/cluster.yaml}\n";

    fn config(text: &str) -> Config {
        valid::parse(text, Path::new("/etc/agent.yaml")).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn told(changes: &[SettingChange]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_setting_changes_at_once_or_needs_a_restart() {
        let live = [
            ("uplinks: [eth0, bond1]", "uplinks (from [] to [eth0, bond1])"),
            ("source-check: loose", "source-check (from strict to loose)"),
            ("pod-mtu: 1400", "pod-mtu (from auto to 1400)"),
            ("pod-mtu: keep", "pod-mtu (from auto to keep)"),
            ("masquerade: on", "masquerade (from off to on)"),
            ("audit-interval: 90s", "audit-interval (from 10s to 1m 30s)"),
            ("brake: {share: 50}", "brake.share (from 30 to 50)"),
            ("brake: {at-least: 7}", "brake.at-least (from 20 to 7)"),
            ("brake: {release-after: 1h}", "brake.release-after (from 5m to 1h)"),
            ("log: debug", "log (from info to debug)"),
            ("program-log: debug", "program-log (from off to debug)"),
        ];
        let fixed = [
            ("bpffs: /run/bpf", "bpffs (from /sys/fs/bpf to /run/bpf)"),
            ("socket: /run/a.sock", "socket (from /run/podroute/agent.sock to /run/a.sock)"),
            ("attach: clsact", "attach (from auto to clsact)"),
            ("xdp: decap", "xdp (from off to decap)"),
            ("state-dir: /srv/state", "state-dir (from /var/lib/podroute to /srv/state)"),
            ("log-format: json", "log-format (from text to json)"),
            ("metrics: {listen: \"127.0.0.1:9470\"}", "metrics (from off to 127.0.0.1:9470)"),
        ];
        let old = config(REQUIRED);
        for (line, change) in live {
            let new = config(&format!("{REQUIRED}{line}\n"));
            let Reload { next, changed, needs_restart } = reload(&old, &new);
            assert_eq!((told(&changed), needs_restart), (vec![change.to_owned()], vec![]));
            assert_eq!(next, new, "{line}");
        }
        for (line, change) in fixed {
            let new = config(&format!("{REQUIRED}{line}\n"));
            let Reload { next, changed, needs_restart } = reload(&old, &new);
            assert_eq!((changed, told(&needs_restart)), (vec![], vec![change.to_owned()]));
            assert_eq!(next, old, "{line}");
        }
        let other = config("node: b1\nsource: {file: /srv/state.yaml}\n");
        let expected = [
            "node (from a1 to b1)",
            "sources (from file (preference 100) in /srv/cluster.yaml to file (preference 100) in \
            /srv/state.yaml)",
        ];
        assert_eq!(told(&reload(&old, &other).needs_restart), expected);
        let same = Reload { next: old.clone(), changed: vec![], needs_restart: vec![] };
        assert_eq!(reload(&old, &old), same);
    }

    /// Every field that a configuration has is in one of the two groups, and only in one.
    #[test]
    fn no_setting_is_forgotten() {
        let old = config(REQUIRED);
        let new = config(
            "node: b1\nsource: {file: /srv/state.yaml}\nuplinks: [eth0]\nbpffs: /run/bpf\nsocket: /run/p.sock\n\
             attach: clsact\nxdp: decap\nsource-check: loose\npod-mtu: 1400\nmasquerade: on\naudit-interval: 2m\n\
             brake: {share: 31}\nstate-dir: /srv/state\nlog: warn\nlog-format: json\nprogram-log: trace\n\
             metrics: {listen: \"[::1]:9470\"}\n",
        );
        let Reload { next, changed, needs_restart } = reload(&old, &new);
        let name = |change: &SettingChange| change.setting.replace(['.', '-'], "_");
        let mut told: Vec<String> = changed.iter().chain(&needs_restart).map(name).collect();
        told.iter_mut().filter(|name| name.starts_with("brake")).for_each(|name| *name = "brake".to_owned());
        let debug = format!("{old:#?}");
        let field = |line: &str| Some(line.strip_prefix("    ")?.split_once(": ")?.0.to_owned());
        let fields: BTreeSet<String> =
            debug.lines().filter_map(field).filter(|name| !name.starts_with(' ')).collect();
        assert_eq!(told.len(), fields.len(), "{told:?}");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), fields);
        // With what needs a restart as it was, the next reload says the same of it and nothing else.
        let again = reload(&next, &new);
        assert_eq!((again.changed, again.needs_restart), (vec![], needs_restart));
    }
}
