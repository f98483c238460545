//! Running the system's tools, with errors that show what was run and what it said.

use std::{
    ffi::OsStr,
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs the command to its end and returns what it wrote to stdout.
///
/// # Errors
/// If it cannot be started or ends with another code than 0; the error holds its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let ran = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    finished(command, ran)
}

/// Runs the command with this text as its stdin and returns what it wrote to stdout.
///
/// # Errors
/// As [`output`].
pub fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("writing to {}", line(command)))?;
    }
    let ran = child.wait_with_output().with_context(|| format!("waiting for {}", line(command)))?;
    finished(command, ran).with_context(|| format!("with this input:\n{input}"))
}

/// Runs the command to its end and returns everything it wrote, whatever its exit code: for reports.
#[must_use]
pub fn transcript(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(ran) => {
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
        }
        Err(error) => format!("{}: {error}\n", cannot_start(command)),
    }
}

/// The command as one would type it.
#[must_use]
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`; `cargo xtask setup` installs what is missing", line(command))
}

fn finished(command: &Command, ran: Output) -> Result<String> {
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        bail!("`{}` failed ({}): {}", line(command), ran.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
