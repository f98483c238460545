//! `cargo xtask build-ebpf`: the kernel-side programs as one object file.

use std::fs;

use anyhow::Context as _;

use crate::{toolchain, workspace};

/// What `cargo xtask build-ebpf` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Without DWARF, as released agents embed it (target/bpf/release/node-ebpf.o); BTF stays
    #[arg(long)]
    pub release: bool,
}

/// Builds the object and prints what it is.
///
/// # Errors
/// No toolchain (the message has the commands that install one), or the build failed.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let toolchain = toolchain::find()?;
    println!("toolchain: {}", toolchain.describe());
    let object = toolchain
        .build(workspace::root(), arguments.release)
        .with_context(|| format!("the BPF programs were not built with {}", toolchain.describe()))?;
    let size = fs::metadata(&object)?.len();
    println!("object:    {} ({size} bytes)", object.display());
    Ok(())
}
