//! Finds what can compile Podroute's kernel-side programs, and compiles them with it.
//!
//! A compiler qualifies when it has a `core` for `bpfel-unknown-none`: a rustup nightly with `rust-src` builds
//! one (`-Z build-std`), Debian's `rustc-web` brings one prebuilt. Both need `bpf-linker`.
//!
//! This module depends on `std` only, because `node-agent/build.rs` includes it as well; for the same reason its
//! parts are named by path.

#[path = "toolchain/compile.rs"]
mod compile;
#[path = "toolchain/discover.rs"]
mod discover;

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

pub use compile::{BuildError, OBJECT, write_if_changed};
pub use discover::{cargo_home, find, unpacked_root};

/// The target the programs are compiled for: BPF, little-endian.
pub const TARGET: &str = "bpfel-unknown-none";
/// The oldest rustc (major, minor) that compiles the workspace; `rust-version` in Cargo.toml says the same.
pub const MINIMUM_RUSTC: (u32, u32) = (1, 95);
/// The bpf-linker that set-up installs.
pub const LINKER_VERSION: &str = "0.13.0";
/// Debian packages with a rustc that has `core` for [`TARGET`]. They conflict with `rustc` and `rustup`.
pub const RUST_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];
/// Debian packages that bpf-linker is built against: the LLVM of [`RUST_PACKAGES`].
pub const LLVM_PACKAGES: &[&str] = &["llvm-22-dev"];
/// Names one [`Origin`] (`nightly`, `distribution` or `unpacked`) and so overrides the order of preference.
pub const ORIGIN_VARIABLE: &str = "PODROUTE_BPF_TOOLCHAIN";

/// Where a compiler comes from, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A nightly installed by rustup.
    Nightly,
    /// A rustc of the distribution, at its usual place.
    Distribution,
    /// The distribution's packages, unpacked below [`unpacked_root`] because they cannot be installed here.
    Unpacked,
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "nightly",
            Self::Distribution => "distribution",
            Self::Unpacked => "unpacked",
        })
    }
}

/// What a compiler has of `core` for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// Compiled; nothing to be done.
    Prebuilt,
    /// Its source, which `-Z build-std` compiles.
    Source,
    /// Neither.
    Absent,
}

/// A rustc that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Where it comes from.
    pub origin: Origin,
    /// The executable.
    pub rustc: PathBuf,
    /// Its version as it prints it, `1.96.0`.
    pub release: String,
    /// The major version of its LLVM; 0 if it does not say.
    pub llvm: u32,
    /// What it has of `core`.
    pub core: Core,
}

/// A bpf-linker that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The executable.
    pub path: PathBuf,
    /// The major version of its LLVM, if it can be told.
    pub llvm: Option<u32>,
}

/// A compiler and a linker that together build the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler taken.
    pub compiler: Compiler,
    /// The linker taken.
    pub linker: Linker,
}

/// Why there is no toolchain; displayed with the commands that would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// No compiler qualifies.
    pub compiler: bool,
    /// No bpf-linker was found.
    pub linker: bool,
    /// One line for everything that was looked at and not taken.
    pub rejected: Vec<String>,
    /// This machine can install Debian packages.
    pub debian: bool,
}

/// Takes the first compiler that qualifies. `only` restricts the choice to the origin of this name.
pub fn choose(
    compilers: Vec<Compiler>,
    linker: Option<Linker>,
    only: Option<&str>,
    debian: bool,
) -> Result<Toolchain, Missing> {
    let mut rejected = Vec::new();
    let mut taken = None;
    for compiler in compilers {
        let reason = match only {
            Some(only) if only != compiler.origin.to_string() => {
                Some(format!("not what {ORIGIN_VARIABLE}={only} asks for"))
            }
            _ => unfit(&compiler, linker.as_ref()),
        };
        match reason {
            Some(reason) => rejected.push(format!("{compiler}: {reason}")),
            None if taken.is_none() => taken = Some(compiler),
            None => {}
        }
    }
    match (taken, linker) {
        (Some(compiler), Some(linker)) => Ok(Toolchain { compiler, linker }),
        (taken, linker) => {
            Err(Missing { compiler: taken.is_none(), linker: linker.is_none(), rejected, debian })
        }
    }
}

/// Why the programs cannot be compiled with `compiler` and linked with `linker`.
fn unfit(compiler: &Compiler, linker: Option<&Linker>) -> Option<String> {
    let (major, minor) = MINIMUM_RUSTC;
    if numbers(&compiler.release) < (major, minor) {
        return Some(format!("older than {major}.{minor}"));
    }
    if compiler.core == Core::Absent {
        return Some(match compiler.origin {
            Origin::Nightly => "its component rust-src is not installed".into(),
            Origin::Distribution | Origin::Unpacked => format!("it has no `core` for {TARGET}"),
        });
    }
    let linker_llvm = linker?.llvm?;
    (compiler.llvm > linker_llvm).then(|| {
        format!("bpf-linker (LLVM {linker_llvm}) cannot read what its LLVM {} writes", compiler.llvm)
    })
}

/// The first two numbers of a version; zeros for what is not a version.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

impl Display for Compiler {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} rustc {} ({})", self.origin, self.release, self.rustc.display())
    }
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "the BPF programs cannot be built on this machine:")?;
        if self.compiler {
            writeln!(f, "  - no rustc that compiles for {TARGET}")?;
        }
        if self.linker {
            writeln!(f, "  - no bpf-linker on PATH or in ~/.cargo/bin that starts")?;
        }
        for line in &self.rejected {
            writeln!(f, "  - not usable: {line}")?;
        }
        writeln!(f, "This installs what is missing, and shows each step:\n    cargo xtask setup")?;
        writeln!(f, "or do it by hand:")?;
        for line in remedies(self) {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

/// The commands that would make `missing` go away.
fn remedies(missing: &Missing) -> Vec<String> {
    let mut lines = Vec::new();
    if missing.debian {
        let rust = if missing.compiler { RUST_PACKAGES } else { &[] };
        let packages = [rust, LLVM_PACKAGES].concat().join(" ");
        lines.push("sudo apt-get update".to_owned());
        lines.push(format!("sudo apt-get install --no-install-recommends {packages}"));
        lines.push(format!(
            "LLVM_SYS_221_PREFIX=/usr/lib/llvm-22 cargo install {}",
            linker_install_arguments().join(" ")
        ));
        return lines;
    }
    if missing.compiler {
        lines.push("rustup toolchain install nightly --profile minimal --component rust-src".to_owned());
    }
    lines.push(format!(
        "a bpf-linker {LINKER_VERSION} or newer for that nightly's LLVM: https://github.com/aya-rs/bpf-linker"
    ));
    lines
}

/// Arguments of `cargo install` for a bpf-linker made with [`LLVM_PACKAGES`].
pub fn linker_install_arguments() -> Vec<&'static str> {
    let mut arguments = vec!["bpf-linker", "--version", LINKER_VERSION, "--locked"];
    arguments.extend(["--no-default-features", "--features", "llvm-22"]);
    arguments
}

impl std::error::Error for Missing {}

impl Toolchain {
    /// One line for people: what was taken, and why it is enough.
    pub fn describe(&self) -> String {
        let core = match self.compiler.core {
            Core::Prebuilt => format!("has a prebuilt `core` for {TARGET}"),
            Core::Source | Core::Absent => "builds `core` from its rust-src".to_owned(),
        };
        format!("{}, which {core}; linker {}", self.compiler, self.linker.path.display())
    }
}
