//! `cargo xtask demo`.

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Keep the demo's nodes and pods after it has ended
    #[arg(long)]
    pub keep: bool,
}

/// Runs the demo.
///
/// # Errors
/// Always: there is no demo yet.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("there is no demo yet (--keep: {})", arguments.keep)
}
