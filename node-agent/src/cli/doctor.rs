use std::path::PathBuf;

use super::{exit::Exit, explain::wrapped, output, query::Output};
use crate::doctor::{
    Finding, Report, Severity, diagnose,
    probe::{Places, look},
};

/// Arguments of `node-agent doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 no errors; 1 errors, with --strict warnings, too; 2 the machine cannot be looked at."
)]
pub(super) struct Args {
    /// The agent's configuration: it and what it names are checked, too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The BPF file system, if not that of the configuration
    #[arg(long, value_name = "PATH")]
    bpffs: Option<PathBuf>,
    /// Unix socket of the agent, if not that of the configuration
    #[arg(long, value_name = "PATH", env = "PODROUTE_SOCKET")]
    socket: Option<PathBuf>,
    /// The folder of CNI configurations
    #[arg(long, value_name = "PATH", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// End with 1 if there are warnings
    #[arg(long)]
    strict: bool,
    /// Show what is as it should be, too (JSON always has all)
    #[arg(long)]
    all: bool,
    /// How to show the findings
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Looks at the machine and tells what is wrong with it.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { config, bpffs, socket, cni_conf_dir, strict, all, output } = args;
    let places = Places { config, bpffs, socket, cni: cni_conf_dir };
    let facts = look(&places).await.map_err(|error| Exit::Unknown(error.into()))?;
    let report = diagnose(&facts);
    output::print(&match output {
        Output::Table => show(&report, all),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    if report.errors > 0 || strict && report.warnings > 0 { Err(Exit::NotHealthy.into()) } else { Ok(()) }
}

fn show(report: &Report, all: bool) -> String {
    let shown = report.findings.iter().filter(|finding| all || finding.severity != Severity::Ok);
    let mut text: String = shown.map(show_one).collect();
    let fine = report.findings.len() - report.errors - report.warnings;
    let rest = if all || fine == 0 { "" } else { " (--all shows them)" };
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (many(report.errors, "error"), many(report.warnings, "warning"));
    text += &format!("{errors}, {warnings}, {} fine{rest}\n", many(fine, "check"));
    text
}

fn show_one(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Ok => "✓ ok     ",
        Severity::Warning => "! warning",
        Severity::Error => "✗ error  ",
    };
    let Finding { check, found, meaning, fix, .. } = finding;
    let mut text = wrapped(&format!("{mark}  "), &format!("{check}: {found}"));
    if !meaning.is_empty() {
        text += &wrapped("           ", meaning);
    }
    if let Some(fix) = fix {
        text += &wrapped("           → ", fix);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fine_is_shown_on_demand() {
        let finding = |severity, found: &str, fix: Option<&str>| Finding {
            check: "mtu",
            severity,
            found: found.to_owned(),
            meaning: if fix.is_some() { "packets are lost".to_owned() } else { String::new() },
            fix: fix.map(str::to_owned),
        };
        let report = Report {
            findings: vec![
                finding(Severity::Ok, "eth0: 1500 bytes", None),
                finding(Severity::Error, "eth1: 68 bytes", Some("ip link set eth1 mtu 1500")),
            ],
            errors: 1,
            warnings: 0,
        };
        assert_eq!(
            show(&report, false),
            "✗ error    mtu: eth1: 68 bytes\n           packets are lost\n           → ip link set eth1 mtu 1500\n\
             1 error, 0 warnings, 1 check fine (--all shows them)\n"
        );
        assert!(show(&report, true).starts_with("✓ ok       mtu: eth0: 1500 bytes\n"));
    }
}
