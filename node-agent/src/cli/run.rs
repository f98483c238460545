use std::path::PathBuf;

/// Arguments of `node-agent run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's configuration
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

/// Runs the agent until it is told to stop.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`run --config {}` is not part of this build", args.config.display())
}
