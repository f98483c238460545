//! Programs that tasks run: shown before they start, an error if they fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, io};

use anyhow::{Context as _, bail};
use nix::unistd::Uid;

/// How this process runs what needs root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It is root.
    Root,
    /// Through sudo.
    Sudo,
    /// Not at all: it is not root, and there is no sudo.
    None,
}

impl Privilege {
    /// What this process has.
    pub fn detect() -> Self {
        if Uid::effective().is_root() {
            Self::Root
        } else if is_installed("sudo") {
            Self::Sudo
        } else {
            Self::None
        }
    }

    /// A command that runs `program` as root, if that is possible at all.
    pub fn command(self, program: &str) -> Command {
        if self == Self::Sudo {
            let mut command = Command::new("sudo");
            command.arg(program);
            command
        } else {
            Command::new(program)
        }
    }
}

/// Whether a program is on PATH or where Debian puts those of the administrator, which others' PATH leaves out.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders =
        env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into));
    folders.any(|folder| folder.join(program).is_file())
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let variables = command.get_envs().filter_map(|(name, value)| {
        value.map(|value| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
    });
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    variables.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Shows a command, then runs it with its output on our terminal.
///
/// # Errors
/// It did not start, or it failed.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = shown(command);
    println!("+ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// What a command writes to standard output; `None` if it does not start or fails.
pub fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command succeeds; its output is not shown.
pub fn succeeds(command: &mut Command) -> io::Result<bool> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
}
