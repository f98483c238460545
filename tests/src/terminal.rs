//! A terminal of our own, for what draws on one.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::termios::{Termios, tcgetattr},
};
use vt100::Parser;

use crate::process::Background;

/// Its size in characters.
const ROWS: u16 = 40;
const COLUMNS: u16 = 132;

/// A pseudo-terminal, and what has been drawn on it.
pub struct Terminal {
    keys: File,
    /// The side of the programs, kept open so that what they have drawn does not get lost.
    line: OwnedFd,
    drawn: Arc<Mutex<Parser>>,
    before: Termios,
}

impl Terminal {
    /// A new one.
    ///
    /// # Errors
    /// The kernel has none to give.
    pub fn open() -> Result<Self> {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } =
            openpty(Some(&size), None).context("opening a pseudo-terminal")?;
        let before = tcgetattr(slave.as_fd())?;
        let drawn = Arc::new(Mutex::new(Parser::new(ROWS, COLUMNS, 0)));
        let mut output = File::from(master.try_clone()?);
        let reader = Arc::clone(&drawn);
        // Ends when the last program's side is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                reader.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..length]);
            }
        });
        Ok(Self { keys: File::from(master), line: slave, drawn, before })
    }

    /// Starts a command on it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Background> {
        let end = || -> Result<Stdio> { Ok(self.line.try_clone()?.into()) };
        Background::spawn(command.env("TERM", "xterm-256color").stdin(end()?).stdout(end()?).stderr(end()?))
    }

    /// Types these characters.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("typing")
    }

    /// The text that is on it now.
    #[must_use]
    pub fn text(&self) -> String {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Checks that it is as it was when it was new, but for text.
    ///
    /// # Errors
    /// What is not.
    pub fn is_restored(&self) -> Result<()> {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!drawn.screen().alternate_screen(), "the alternate screen is still shown");
        ensure!(!drawn.screen().hide_cursor(), "the cursor is still hidden");
        let now = tcgetattr(self.line.as_fd())?;
        let modes = |modes: &Termios| (modes.input_flags, modes.output_flags, modes.local_flags);
        ensure!(modes(&now) == modes(&self.before), "its modes are {:?}, not {:?}", now, self.before);
        Ok(())
    }

    /// Whether something has made it its own: keys come at once and are not shown.
    ///
    /// # Errors
    /// If the kernel cannot tell.
    pub fn is_taken(&self) -> Result<bool> {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = tcgetattr(self.line.as_fd())?.local_flags != self.before.local_flags;
        Ok(changed && drawn.screen().alternate_screen() && drawn.screen().hide_cursor())
    }
}
