//! `cargo xtask check`: what the sources have to look like.

mod documentation;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::{process, workspace};

/// The longest a source file may be, in lines.
const MAXIMUM_LINES: usize = 400;

type Check = fn() -> anyhow::Result<()>;

/// Runs every check, also after one has failed, so that one run shows all there is to mend.
///
/// # Errors
/// Some check failed.
pub fn run() -> anyhow::Result<()> {
    let checks: [(&str, Check); 5] = [
        ("format", format),
        ("clippy", clippy),
        ("clippy of the BPF programs", clippy_of_programs),
        ("length of files", lengths),
        ("tests named in documents", named_tests),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        println!("\n==> {name}");
        if let Err(error) = check() {
            println!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("\nall checks passed");
    Ok(())
}

fn format() -> anyhow::Result<()> {
    process::run(cargo("fmt").args(["--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    process::run(cargo("clippy").args([
        "--workspace",
        "--all-targets",
        "--features",
        "tests/bench",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The BPF entry points, which the workspace's run leaves out, as code for this machine: a clippy of the rustc that has
/// a `core` for BPF need not be installed, and no lint depends on the target. That rustc itself compiles them in
/// `cargo xtask build-ebpf`.
fn clippy_of_programs() -> anyhow::Result<()> {
    for (binary, feature) in [("node-ebpf", "bpf"), ("node-ebpf-bench", "bench")] {
        let mut command = cargo("clippy");
        command.args(["--package", "node-ebpf", "--bin", binary, "--features", feature, "--locked"]);
        // The programs have a panic handler of their own and do not unwind.
        command.env("CARGO_PROFILE_DEV_PANIC", "abort");
        process::run(command.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn cargo(task: &str) -> Command {
    let mut command = process::cargo();
    command.current_dir(workspace::root()).arg(task);
    command
}

/// No source file is longer than [`MAXIMUM_LINES`].
fn lengths() -> anyhow::Result<()> {
    let mut long = Vec::new();
    let files = sources(workspace::root())?;
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().count();
        if lines > MAXIMUM_LINES {
            long.push(format!("{} has {lines} lines; {MAXIMUM_LINES} are allowed", file.display()));
        }
    }
    if !long.is_empty() {
        bail!("{}", long.join("\n"));
    }
    println!("{} files, none longer than {MAXIMUM_LINES} lines", files.len());
    Ok(())
}

/// Every test that a document names exists.
fn named_tests() -> anyhow::Result<()> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let texts: Vec<String> =
        sources(workspace::root())?.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
    let mut missing = Vec::new();
    for document in ["README.md", "docs/architecture.md", "docs/datapath.md"] {
        let text = read(&workspace::root().join(document))?;
        missing.extend(
            documentation::missing(&text, &texts)
                .into_iter()
                .map(|name| format!("{document}: there is no {name}")),
        );
    }
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    println!("all exist");
    Ok(())
}

/// The Rust files below a folder, but not those that cargo made (`target`) or that are hidden.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let made = name == "target" || name.as_encoded_bytes().starts_with(b".");
        if entry.file_type()?.is_dir() && !made {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
