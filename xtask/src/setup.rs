//! `cargo xtask setup`: installs what building, the demo and the tests need.

mod apt;
mod machine;
mod plan;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::{self, Privilege};
use crate::toolchain::discover::{set_library_path, unpacked_root};
use crate::toolchain::{self, LINKER_LLVM_VARIABLE, RUST_PACKAGES, linker_install_arguments, llvm_prefix};
use plan::{Observed, PROGRAMS, Plan, Step};

/// What `cargo xtask setup` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only tell what is missing and what would be done; fails if something is
    #[arg(long)]
    pub check: bool,
}

/// The rounds of looking and doing that the longest way takes: lists, compiler, linker, and one to spare.
const ROUNDS: usize = 4;

/// Runs the task.
///
/// # Errors
/// Something is still missing.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let privilege = Privilege::detect();
    if arguments.check {
        let observed = observe();
        let plan = plan::plan(&observed, false);
        report(&observed, &plan, privilege)?;
        let limits = tell_limits(privilege);
        if !plan.is_empty() || limits {
            bail!("something is missing; see above");
        }
        return Ok(());
    }
    ensure()?;
    tell_limits(privilege);
    Ok(())
}

/// Installs what is missing, if anything; says nothing of what the machine cannot do.
///
/// # Errors
/// Something is still missing.
pub fn ensure() -> anyhow::Result<()> {
    let privilege = Privilege::detect();
    let mut lists_updated = false;
    for _ in 0..ROUNDS {
        let plan = plan::plan(&observe(), lists_updated);
        if plan.is_empty() {
            println!("setup: everything is installed");
            println!("setup: BPF toolchain: {}", toolchain::find()?.describe());
            return Ok(());
        }
        for step in &plan.steps {
            println!("\n==> {}", title(step));
            match execute(step, privilege) {
                // Lists from before a package's last update name files that are no longer there.
                Err(error) if matches!(step, Step::Install(_)) && !lists_updated => {
                    println!("{error:#}; again with new lists");
                    execute(&Step::UpdateLists, privilege)?;
                    lists_updated = true;
                    execute(step, privilege)?;
                }
                result => result?,
            }
            lists_updated |= *step == Step::UpdateLists;
        }
        if !plan.unsolved.is_empty() {
            bail!("set-up cannot do this:\n  {}", plan.unsolved.join("\n  "));
        }
    }
    match toolchain::find() {
        Err(missing) => Err(missing).context("installed everything, but something is still missing"),
        Ok(_) => bail!("installed everything, but some programs are still missing: {:?}", observe().programs),
    }
}

/// What keeps the demo and the tests from running on this machine, though everything is installed.
pub fn limits() -> Vec<String> {
    machine::limits(Privilege::detect())
}

/// Looks at this machine.
fn observe() -> Observed {
    let programs: BTreeSet<_> = PROGRAMS
        .iter()
        .map(|(program, _)| *program)
        .filter(|program| !process::is_installed(program))
        .collect();
    let toolchain = toolchain::find().err();
    let mut observed = Observed { programs, toolchain, ..Observed::default() };
    observed.apt = process::is_installed("apt-get");
    let packages = plan::packages_in_question(&observed.programs, observed.toolchain.as_ref());
    if observed.apt && !packages.is_empty() {
        observed.candidates = apt::candidates(&packages);
        observed.rust_fits_in = apt::fits_in(&RUST_PACKAGES);
    }
    observed
}

/// Says what is missing and what would be done.
fn report(observed: &Observed, plan: &Plan, privilege: Privilege) -> anyhow::Result<()> {
    if plan.is_empty() {
        println!("everything is installed");
        println!("BPF toolchain: {}", toolchain::find()?.describe());
        return Ok(());
    }
    if let Some(missing) = &observed.toolchain {
        print!("{missing}");
    }
    if !observed.programs.is_empty() {
        let programs: Vec<_> = observed.programs.iter().copied().collect();
        println!("programs that are not installed: {}", programs.join(", "));
    }
    println!("`cargo xtask setup` would start with:");
    for step in &plan.steps {
        println!("  {}", title(step));
        for command in commands(step, privilege) {
            println!("    + {}", process::shown(&command));
        }
    }
    for unsolved in &plan.unsolved {
        println!("  not possible: {unsolved}");
    }
    Ok(())
}

/// Says what this machine cannot do; whether there is anything.
fn tell_limits(privilege: Privilege) -> bool {
    let limits = machine::limits(privilege);
    for limit in &limits {
        println!("the demo and the tests cannot run on this machine: {limit}");
    }
    !limits.is_empty()
}

/// What a step does, for people.
fn title(step: &Step) -> String {
    match step {
        Step::UpdateLists => "fetch the lists of packages".into(),
        Step::Install(packages) => format!("install {} packages", packages.len()),
        Step::UnpackRust => {
            "unpack Debian's rustc-web into your cache folder (installing it would remove packages)".into()
        }
        Step::BuildLinker(llvm) => format!("build bpf-linker with LLVM {llvm} (about a minute)"),
    }
}

/// The commands of a step.
fn commands(step: &Step, privilege: Privilege) -> Vec<Command> {
    match step {
        Step::UpdateLists => {
            let mut command = privilege.command("apt-get");
            command.arg("update");
            vec![command]
        }
        Step::Install(packages) => {
            let mut command = privilege.command("env");
            command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--assume-yes"]);
            command.arg("--no-install-recommends").args(packages);
            vec![command]
        }
        Step::UnpackRust => {
            let mut command = Command::new("apt-get");
            command.arg("download").args(apt::family(&RUST_PACKAGES, &["libstd-rust-web", "libllvm"]));
            vec![command]
        }
        Step::BuildLinker(llvm) => {
            let mut command = process::cargo();
            command
                .env(LINKER_LLVM_VARIABLE, llvm_prefix(*llvm))
                .arg("install")
                .args(linker_install_arguments(*llvm));
            vec![command]
        }
    }
}

/// Does a step.
fn execute(step: &Step, privilege: Privilege) -> anyhow::Result<()> {
    let needs_root = matches!(step, Step::UpdateLists | Step::Install(_));
    if needs_root && privilege == Privilege::None {
        let lines: Vec<_> = commands(step, privilege).iter().map(process::shown).collect();
        bail!("this needs root, and there is no sudo here. Let root run:\n    {}", lines.join("\n    "));
    }
    if *step == Step::UnpackRust {
        return unpack_rust(commands(step, privilege));
    }
    commands(step, privilege).iter_mut().try_for_each(process::run)
}

/// Downloads the packages and unpacks them below [`unpacked_root`], which appears when it is complete.
fn unpack_rust(downloads: Vec<Command>) -> anyhow::Result<()> {
    let root = unpacked_root().context("there is no HOME, so no cache folder to unpack rustc-web into")?;
    let parts = root.with_extension("part");
    let archives = root.with_extension("deb");
    for folder in [&parts, &archives] {
        remove(folder)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for mut download in downloads {
        process::run(download.current_dir(&archives))?;
    }
    for archive in fs::read_dir(&archives)? {
        process::run(Command::new("dpkg").arg("--extract").arg(archive?.path()).arg(&parts))?;
    }
    remove(&root)?;
    fs::rename(&parts, &root).with_context(|| format!("cannot put {} into its place", root.display()))?;
    remove(&archives)?;
    let mut rustc = Command::new(root.join("usr/bin/rustc"));
    set_library_path(&mut rustc, toolchain::Origin::Unpacked);
    process::run(rustc.arg("--version")).context("the unpacked rustc does not start")
}

/// Removes a folder of ours, if it is there.
fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
