use std::path::PathBuf;

use crate::config::DEFAULT_BPFFS;

/// Arguments of `node-agent cleanup`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The BPF file system that the agent used
    #[arg(long, value_name = "PATH", default_value = DEFAULT_BPFFS)]
    pub(super) bpffs: PathBuf,
    /// Take the BPF file system from the agent's configuration
    #[arg(long, value_name = "FILE", conflicts_with = "bpffs")]
    pub(super) config: Option<PathBuf>,
    /// Only list what would be removed
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Removes everything of Podroute from this node.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`cleanup` is not part of this build ({args:?})")
}
