//! Looks at this machine: which compilers and which linker there are.

use std::env::{self, consts::ARCH};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Compiler, Core, Linker, Missing, ORIGIN_VARIABLE, Origin, TARGET, Toolchain, choose, numbers};

/// Looks for a toolchain on this machine.
///
/// # Errors
/// What is missing, if the programs cannot be built.
pub fn find() -> Result<Toolchain, Missing> {
    let only = env::var(ORIGIN_VARIABLE).ok().filter(|value| !value.is_empty());
    let debian = fs::read_to_string("/etc/os-release").is_ok_and(|text| is_debian(&text));
    choose(compilers(), &linkers(), only.as_deref(), debian)
}

/// Whether an os-release file is Debian's own. Those made from it, like Ubuntu, do not have its `rustc-web`.
pub(super) fn is_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| line.replace('"', "") == "ID=debian")
}

/// Where the distribution's packages are unpacked if they cannot be installed: a folder of the user's cache.
pub fn unpacked_root() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    Some(cache.or_else(|| Some(env::home_dir()?.join(".cache")))?.join("podroute/bpf-rust"))
}

/// The folder below which cargo installs programs: `~/.cargo`.
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Every rustc on this machine that could have a `core` for [`TARGET`], the preferred first.
fn compilers() -> Vec<Compiler> {
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| Some(env::home_dir()?.join(".rustup")));
    let mut candidates = Vec::new();
    for toolchain in rustup.map(|home| entries(&home.join("toolchains"))).unwrap_or_default() {
        if toolchain.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"nightly")) {
            candidates.push((Origin::Nightly, toolchain.join("bin/rustc")));
        }
    }
    candidates.push((Origin::Distribution, PathBuf::from("/usr/bin/rustc")));
    // Ubuntu's packages of single versions.
    for folder in entries(Path::new("/usr/lib")) {
        if folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"rust-")) {
            candidates.push((Origin::Distribution, folder.join("bin/rustc")));
        }
    }
    candidates.extend(unpacked_root().map(|root| (Origin::Unpacked, root.join("usr/bin/rustc"))));
    candidates.into_iter().filter_map(|(origin, rustc)| inspect(origin, rustc)).collect()
}

/// The paths in a folder, sorted; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// Asks a rustc what it is. `None` if there is none at this path or it does not start.
fn inspect(origin: Origin, rustc: PathBuf) -> Option<Compiler> {
    // Debian's /usr/bin/rustc may be rustup's proxy, which would answer for (and even install) another rustc.
    if fs::canonicalize(&rustc).ok()?.file_name() == Some(OsStr::new("rustup")) {
        return None;
    }
    let ask = |question: &[&str]| {
        let mut command = Command::new(&rustc);
        command.args(question);
        set_library_path(&mut command, origin);
        let answer = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(answer.stdout).ok()
    };
    let version = ask(&["-vV"])?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let library = PathBuf::from(ask(&["--print", "sysroot"])?.trim()).join("lib/rustlib");
    let prebuilt = entries(&library.join(TARGET).join("lib"));
    let core = if prebuilt.iter().any(|path| path.to_string_lossy().contains("/libcore-")) {
        Core::Prebuilt
    } else if origin == Origin::Nightly && library.join("src/rust/library/core/Cargo.toml").is_file() {
        Core::Source
    } else {
        Core::Absent
    };
    let release = field("release:")?.to_owned();
    let llvm = numbers(field("LLVM version:").unwrap_or_default()).0;
    Some(Compiler { origin, rustc, release, llvm, core })
}

/// Lets an unpacked rustc find its libraries, which lie where the loader does not look.
pub fn set_library_path(command: &mut Command, origin: Origin) {
    if let (Origin::Unpacked, Some(root)) = (origin, unpacked_root()) {
        command.env("LD_LIBRARY_PATH", root.join(format!("usr/lib/{ARCH}-linux-gnu")));
    }
}

/// The bpf-linkers on PATH and where cargo installs them, but only those that start.
fn linkers() -> Vec<Linker> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(cargo_home().map(|home| home.join("bin")));
    let inspect = |path: PathBuf| {
        let started = Command::new(&path).arg("--version").output().ok()?;
        let llvm = linked_llvm(&fs::read(&path).ok()?);
        started.status.success().then_some(Linker { path, llvm })
    };
    folders.map(|folder| folder.join("bpf-linker")).filter_map(inspect).collect()
}

/// The major version in the name of the LLVM library that an executable loads (`libLLVM.so.22.1`, `libLLVM-22.so`).
pub(super) fn linked_llvm(executable: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"libLLVM";
    let starts = executable.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    starts.map(|(at, _)| &executable[at + NAME.len()..]).find_map(|rest| {
        let rest = rest.strip_prefix(b".so.").or(rest.strip_prefix(b"-"))?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    })
}
