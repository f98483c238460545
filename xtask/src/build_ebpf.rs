//! `cargo xtask build-ebpf`: the kernel-side programs as one object file.

use std::fs;

use anyhow::Context as _;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

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
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    println!("object:    {} ({} bytes)", object.display(), bytes.len());
    println!("programs:  {}", programs(&bytes)?.join(", "));
    Ok(())
}

/// The names of the programs in an object: the functions that are in a program's section, and not in `.text` as what
/// they call is.
fn programs(object: &[u8]) -> anyhow::Result<Vec<String>> {
    let file = object::File::parse(object).context("the object is not an ELF file")?;
    let mut names = Vec::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        if section.name()? == ".text" {
            continue;
        }
        for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
            if symbol.is_global() && symbol.kind() == SymbolKind::Text {
                names.push(symbol.name()?.to_owned());
            }
        }
    }
    Ok(names)
}
