//! `node-agent top`: what passes and where to, drawn anew each second.

mod asker;
mod draw;
mod hops;
mod model;
mod rates;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

use self::{
    asker::{Answer, Asker},
    model::Model,
};
use crate::{api::AskError, config::DEFAULT_SOCKET};

/// How long after an answer the agent is asked again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `node-agent top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Unix socket of the agent
    #[arg(long, value_name = "PATH", env = "PODROUTE_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Draws until somebody quits.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        bail!(
            "`top` draws on a terminal, and standard output is none: use `node-agent status`, `node-agent routes` and \
             `node-agent counters` (with --output json for programs)"
        );
    }
    let mut asker = Asker::new(args.socket);
    let mut model = Model::default();
    // Before anything is drawn: an agent that is not there is told as everywhere.
    model.take(asker.ask().await?);
    let terminal = ratatui::try_init().context("the terminal cannot be drawn on")?;
    let ended = follow(terminal, answers(asker), &mut model).await;
    ratatui::try_restore().context("the terminal cannot be put back (`reset` does)")?;
    ended
}

type Answers = mpsc::Receiver<Result<Answer, AskError>>;

/// Draws after each answer and each key.
async fn follow(
    mut terminal: DefaultTerminal,
    mut answers: Answers,
    model: &mut Model,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut events = events();
    loop {
        terminal.draw(|frame| draw::draw(frame, model))?;
        tokio::select! {
            Some(answer) = answers.recv() => match answer {
                Ok(answer) => model.take(answer),
                Err(error) => model.problem = Some(error.to_string()),
            },
            Some(event) = events.recv() => match event.map(|event| Key::of(&event)) {
                Ok(Some(Key::Quit)) => return Ok(()),
                Ok(Some(Key::Scroll(by))) => model.scroll_by(by),
                Ok(None) => {}
                Err(error) => return Err(error).context("cannot read the keys"),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// Asks again and again, in a task of its own: keys work also while the agent does not answer.
fn answers(mut asker: Asker) -> Answers {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            sleep(INTERVAL).await;
            if sender.send(asker.ask().await).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Keys and changes of the terminal's size. The thread ends with the process.
fn events() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        loop {
            let read = event::read();
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Quit,
    /// Rows further down.
    Scroll(isize),
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        const PAGE: isize = 10;
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return None;
        };
        match code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Self::Quit),
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Self::Quit),
            KeyCode::Down | KeyCode::Char('j') => Some(Self::Scroll(1)),
            KeyCode::Up | KeyCode::Char('k') => Some(Self::Scroll(-1)),
            KeyCode::PageDown => Some(Self::Scroll(PAGE)),
            KeyCode::PageUp => Some(Self::Scroll(-PAGE)),
            KeyCode::Home => Some(Self::Scroll(isize::MIN)),
            KeyCode::End => Some(Self::Scroll(isize::MAX)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        Key::of(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn keys_quit_and_scroll() {
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Some(Key::Scroll(1)));
        assert_eq!(key(KeyCode::PageUp, KeyModifiers::NONE), Some(Key::Scroll(-10)));
        assert_eq!(Key::of(&Event::Resize(80, 24)), None);
    }
}
