use std::path::PathBuf;

use crate::{app, config::Config};

/// Arguments of `node-agent run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's configuration
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

/// Runs the agent until it is told to stop.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    app::run(Config::load(&args.config)?).await
}
