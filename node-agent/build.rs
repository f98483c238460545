//! Compiles the kernel-side programs, so that the agent that embeds them is one file and never embeds old ones.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

// xtask uses the same module; a build script needs a part of it.
#[allow(dead_code)]
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

fn main() -> ExitCode {
    match embed() {
        Ok(object) => {
            println!("cargo:rustc-env=PODROUTE_EBPF_OBJECT={}", object.display());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the object and puts a copy where only this build of node-agent looks.
fn embed() -> Result<PathBuf, String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("{name} is not set: not run by cargo"));
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package.parent().ok_or("node-agent lies in no workspace")?;
    for source in [
        "Cargo.lock",
        "Cargo.toml",
        "node-ebpf",
        "node-ebpf-common",
        "xtask/src/toolchain.rs",
        "xtask/src/toolchain",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo:rerun-if-env-changed={}", toolchain::ORIGIN_VARIABLE);

    let toolchain = toolchain::find().map_err(|missing| missing.to_string())?;
    let failed = |error: &dyn std::error::Error| {
        format!("the BPF programs were not built: {error}\n  toolchain: {}", toolchain.describe())
    };
    let release = variable("PROFILE")? == "release";
    let built = toolchain.build(workspace, release).map_err(|error| failed(&error))?;
    let own = Path::new(&variable("OUT_DIR")?).join(toolchain::compile::OBJECT);
    let bytes = fs::read(&built).map_err(|error| failed(&error))?;
    toolchain::compile::write_if_changed(&own, &bytes).map_err(|error| failed(&error))?;
    Ok(own)
}
