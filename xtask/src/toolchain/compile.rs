//! Compiles the kernel-side programs by a cargo of its own, inside or outside of another cargo's build.

use std::env::{self, consts::ARCH};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::{fs, io};

use super::discover::set_library_path;
use super::{Core, TARGET, Toolchain, llvm_prefix};

/// The object's file name.
pub const OBJECT: &str = "node-ebpf.o";

/// A binary of the package `node-ebpf`: its name, the feature that it is built with, and its object's file name.
struct Binary {
    name: &'static str,
    feature: &'static str,
    object: &'static str,
}

/// What the agent loads.
const DATAPATH: Binary = Binary { name: "node-ebpf", feature: "bpf", object: OBJECT };
/// What only the benchmark harness loads, beside the datapath.
const BENCHMARK: Binary = Binary { name: "node-ebpf-bench", feature: "bench", object: "node-ebpf-bench.o" };

/// Why the programs were not built although there is a toolchain.
#[derive(Debug)]
pub enum BuildError {
    /// A program of the toolchain did not start.
    Start(String, io::Error),
    /// A program of the toolchain failed; it has said why on standard error.
    Failed(String, ExitStatus),
    /// The object could not be put into its place.
    Object(PathBuf, io::Error),
}

impl Display for BuildError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(command, error) => write!(f, "cannot start `{command}`: {error}"),
            Self::Failed(command, status) => {
                write!(f, "`{command}` failed ({status}); its messages are above")
            }
            Self::Object(path, error) => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BuildError {}

impl Toolchain {
    /// Compiles the programs and returns the path of the object, which is only written if its bytes changed:
    /// `target/bpf/node-ebpf.o`, or `target/bpf/release/node-ebpf.o` if `release`.
    ///
    /// The code and the BTF of both are the same. `release` leaves out DWARF, which only serves to read the
    /// source beside a disassembly and is nine tenths of the file, if an `llvm-objcopy` is there to remove it.
    ///
    /// # Errors
    /// Cargo, or the removal of DWARF, failed, or the object cannot be written.
    pub fn build(&self, workspace_root: &Path, release: bool) -> Result<PathBuf, BuildError> {
        self.build_binary(&DATAPATH, workspace_root, release)
    }

    /// Compiles the benchmark's own programs, likewise: `target/bpf/release/node-ebpf-bench.o`.
    ///
    /// # Errors
    /// As for [`Self::build`].
    pub fn build_benchmark(&self, workspace_root: &Path) -> Result<PathBuf, BuildError> {
        self.build_binary(&BENCHMARK, workspace_root, true)
    }

    fn build_binary(
        &self,
        binary: &Binary,
        workspace_root: &Path,
        release: bool,
    ) -> Result<PathBuf, BuildError> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        let folder = workspace_root.join(target).join("bpf");
        run(self.cargo(binary, workspace_root, &folder))?;
        let name = binary.name;
        let built = folder.join(TARGET).join("bpf").join(name);
        let (folder, bytes) = if release {
            let stripped = folder.join(format!("{name}.{}.stripped", std::process::id()));
            let source = if self.strip(&built, &stripped)? { &stripped } else { &built };
            let bytes = fs::read(source);
            // It is there only if something was stripped.
            let _ = fs::remove_file(&stripped);
            (folder.join("release"), bytes)
        } else {
            (folder, fs::read(&built))
        };
        let object = folder.join(binary.object);
        let bytes = bytes.map_err(|error| BuildError::Object(built, error))?;
        write_if_changed(&object, &bytes).map_err(|error| BuildError::Object(object.clone(), error))?;
        Ok(object)
    }

    /// The nested cargo, with nothing of the outer one's environment that would change what it builds.
    fn cargo(&self, binary: &Binary, workspace_root: &Path, folder: &Path) -> Command {
        // A nightly's cargo is the one that knows its `-Z build-std`.
        let own = self.compiler.rustc.with_file_name("cargo");
        let outer = env::var_os("CARGO").map_or("cargo".into(), PathBuf::from);
        let mut command = Command::new(if self.compiler.core == Core::Source { own } else { outer });
        for (name, _) in env::vars_os().filter(|(name, _)| !is_kept(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.current_dir(workspace_root).args(["build", "--locked", "--package", "node-ebpf"]);
        command.args(["--bin", binary.name, "--features", binary.feature]);
        command.args(["--profile", "bpf", "--target", TARGET]);
        command.arg("--target-dir").arg(folder);
        if self.compiler.core == Core::Source {
            command.args(["-Z", "build-std=core"]);
        }
        let flags = [
            "-Clink-arg=--btf".to_owned(),
            // 32-bit arithmetic and jumps, which every kernel from 5.1 on knows.
            "-Ctarget-cpu=v3".to_owned(),
            // aya-ebpf reads kernel registers of this architecture.
            format!("--cfg=bpf_target_arch=\"{ARCH}\""),
        ];
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker.path);
        command.env("RUSTC", &self.compiler.rustc);
        // aya-ebpf uses unstable features of the BPF target.
        command.env("RUSTC_BOOTSTRAP", "1");
        set_library_path(&mut command, self.compiler.origin);
        command
    }

    /// Copies an object without its DWARF; false, and no copy, if this machine has no objcopy that knows BPF.
    fn strip(&self, from: &Path, to: &Path) -> Result<bool, BuildError> {
        let debian = PathBuf::from(llvm_prefix(self.compiler.llvm));
        let mut candidates = vec![(debian.join("bin/llvm-objcopy"), debian.join("lib"))];
        // Every toolchain of rustup brings one, which needs the toolchain's libraries.
        if let Some(rustup) =
            env::var_os("CARGO").as_deref().map(Path::new).and_then(|cargo| cargo.parent()?.parent())
        {
            let programs = rustup.join(format!("lib/rustlib/{ARCH}-unknown-linux-gnu/bin"));
            candidates.push((programs.join("rust-objcopy"), rustup.join("lib")));
        }
        let Some((objcopy, libraries)) = candidates.into_iter().find(|(program, _)| program.is_file()) else {
            return Ok(false);
        };
        let mut command = Command::new(objcopy);
        command.arg("--strip-debug").arg(from).arg(to).env("LD_LIBRARY_PATH", libraries);
        run(command).map(|()| true)
    }
}

/// Whether the nested cargo inherits an environment variable: everything but what tells cargo and rustc what to
/// build and how, and what cargo tells a build script (`HOST` and others would make aya-ebpf's own build scripts run
/// again each time). How cargo reaches its registries, and the outer cargo's job slots, stay.
pub(super) fn is_kept(variable: &str) -> bool {
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_BUILD_JOBS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const REMOVED: [&str; 5] = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC", "RUSTUP_TOOLCHAIN"];
    const OF_BUILD_SCRIPTS: [&str; 7] =
        ["HOST", "TARGET", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR"];
    let starts = |names: &[&str]| names.iter().any(|name| variable.starts_with(name));
    starts(&KEPT) || !(starts(&REMOVED) || OF_BUILD_SCRIPTS.contains(&variable))
}

/// Runs a command with its output on our standard error: cargo reads a build script's standard output.
fn run(mut command: Command) -> Result<(), BuildError> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let shown = command.get_args().fold(shown, |line, argument| line + " " + &argument.to_string_lossy());
    let status = command.stdout(io::stderr()).status();
    let status = status.map_err(|error| BuildError::Start(shown.clone(), error))?;
    if status.success() { Ok(()) } else { Err(BuildError::Failed(shown, status)) }
}

/// Puts a file into its place at once, but leaves it, and its time, alone if it already is what it should be.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}
