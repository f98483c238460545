use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::{
    api::{Request, ask},
    config::{Config, DEFAULT_BPFFS, DEFAULT_SOCKET, DEFAULT_STATE_DIR},
    datapath::{detach_leftover, leftovers, remove_leftover},
    host::Host,
    masquerade::{Nft, TABLE},
    model::WantedHost,
    reconcile::plan_host,
    state_dir,
};

/// Arguments of `node-agent cleanup`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The BPF file system that the agent used
    #[arg(long, value_name = "PATH", default_value = DEFAULT_BPFFS)]
    pub(super) bpffs: PathBuf,
    /// Unix socket of the agent, to see that it does not run any more
    #[arg(long, value_name = "PATH", env = "PODROUTE_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(super) socket: PathBuf,
    /// The agent's state directory
    #[arg(long, value_name = "PATH", default_value = DEFAULT_STATE_DIR)]
    pub(super) state_dir: PathBuf,
    /// Take these from the agent's configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bpffs", "socket", "state_dir"])]
    pub(super) config: Option<PathBuf>,
    /// Only list what would be removed
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Removes everything of Podroute from this node: only what carries our marks (pin paths, filter name and
/// priority, route protocol, address label, name of the nftables table). Sysctls stay as they are: others may rely on them.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let (bpffs, socket, state_dir) = match &args.config {
        Some(config) => Config::load(config).map(|config| (config.bpffs, config.socket, config.state_dir))?,
        None => (args.bpffs, args.socket, args.state_dir),
    };
    if !args.dry_run && ask(&socket, &Request::Status).await.is_ok() {
        bail!(
            "an agent answers at {}: stop it first, or it will put everything back (nothing has been removed)",
            socket.display()
        );
    }
    let mut removal = Removal { dry_run: args.dry_run, done: 0, failed: 0 };
    remove_all(&bpffs, &mut removal).await?;
    for path in state_dir::leftovers(&state_dir)? {
        removal.step(&format!("remove {}", path.display()), || state_dir::remove_leftover(&path));
    }
    removal.conclude()
}

/// First the programs, so that packets take the kernel's routes; then those; then the maps.
async fn remove_all(bpffs: &Path, removal: &mut Removal) -> anyhow::Result<()> {
    let found = leftovers(bpffs)?;
    for point in found.attachments {
        let what = format!("detach {} from interface {}", point.hook.label(), point.link);
        removal.step(&what, || detach_leftover(bpffs, point));
    }
    let host = Host::new();
    let plan = plan_host(&WantedHost::default(), &host.observe().await?);
    if removal.dry_run {
        plan.changes.iter().for_each(|change| removal.step(&change.to_string(), || Ok::<(), String>(())));
    } else {
        let results = host.apply_all(&plan.changes).await?;
        for (change, result) in plan.changes.iter().zip(results) {
            removal.step(&change.to_string(), || result);
        }
    }
    remove_masquerade(removal).await;
    for pin in found.pins {
        removal.step(&format!("remove {}", pin.display()), || remove_leftover(&pin));
    }
    Ok(())
}

/// Removes the nftables table. Where there is no `nft`, nothing can be said of it but this.
async fn remove_masquerade(removal: &mut Removal) {
    let nft = Nft::system();
    let what = format!("remove the nftables table {TABLE}");
    match nft.list().await {
        Ok(None) => {}
        Ok(Some(_)) if removal.dry_run => removal.step(&what, || Ok::<(), String>(())),
        Ok(Some(_)) => {
            let result = nft.remove().await;
            removal.step(&what, || result.map(drop));
        }
        Err(error) if error.is_missing() => {
            println!(
                "there is no `nft` here: a table {TABLE} that was made with one elsewhere is not looked for"
            );
        }
        Err(error) => removal.failed_to_look(&what, &error),
    }
}

/// What has been removed so far.
struct Removal {
    dry_run: bool,
    done: usize,
    failed: usize,
}

impl Removal {
    /// One step; a step that fails does not stop the others.
    fn step<E: std::fmt::Display>(&mut self, what: &str, act: impl FnOnce() -> Result<(), E>) {
        if self.dry_run {
            println!("would {what}");
            self.done += 1;
            return;
        }
        match act() {
            Ok(()) => {
                println!("{what}");
                self.done += 1;
            }
            Err(error) => {
                eprintln!("cannot {what}: {error}");
                self.failed += 1;
            }
        }
    }

    /// What may be there cannot be seen, with and without `--dry-run`.
    fn failed_to_look(&mut self, what: &str, error: &dyn std::fmt::Display) {
        eprintln!("cannot {what}: {error}");
        self.failed += 1;
    }

    fn conclude(self) -> anyhow::Result<()> {
        match (self.dry_run, self.done, self.failed) {
            (_, 0, 0) => println!("nothing of Podroute is here"),
            (true, done, 0) => println!("{done} things would be removed; nothing has been changed"),
            (false, done, 0) => println!("{done} things removed"),
            (false, done, failed) => bail!("{failed} of {} things could not be removed", done + failed),
            (true, done, failed) => {
                bail!(
                    "{done} things would be removed, {failed} could not be looked at; nothing has been changed"
                )
            }
        }
        Ok(())
    }
}
