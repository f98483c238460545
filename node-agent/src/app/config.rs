//! The configuration, read again while the agent runs: all that can change at once does, or, where the file is bad,
//! nothing. What needs a restart is told by name.

use std::{convert::Infallible, fs, path::PathBuf, time::SystemTime};

use tokio::{sync::mpsc, time::Instant};

use super::App;
use crate::{
    api::{ConfigStatus, Reloaded},
    config::{Config, Reload, SettingChange, reload},
    events::EventKind,
    file_watch::{FileWatch, Timing},
};

/// The file of the configuration, and how it differs from what is in force.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    read: SystemTime,
    error: Option<String>,
    needs_restart: Vec<SettingChange>,
}

impl ConfigFile {
    /// A file that is in force as it is.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: SystemTime::now(), error: None, needs_restart: Vec::new() }
    }

    pub(super) fn status(&self) -> ConfigStatus {
        ConfigStatus {
            file: self.path.display().to_string(),
            read: self.read,
            error: self.error.clone(),
            needs_restart: self.needs_restart.clone(),
        }
    }
}

/// Tells whenever the file says something else than `known`, or than the last time.
pub(super) async fn follow(
    path: PathBuf,
    mut known: Option<Vec<u8>>,
    changed: mpsc::Sender<()>,
) -> Result<(), Infallible> {
    let mut watch = FileWatch::new(path.clone(), Timing::USUAL);
    loop {
        watch.keep();
        let text = fs::read(&path).ok();
        if text.is_none() {
            watch.forget();
        }
        if text != known {
            known = text;
            // A full channel holds a signal already.
            let _ = changed.try_send(());
        }
        tokio::select! {
            () = watch.changed() => {}
            () = changed.closed() => return Ok(()),
        }
    }
}

impl App {
    /// Reads the configuration again and takes it in, as far as that needs no restart; a pass is due then. Tells what has
    /// changed.
    ///
    /// # Errors
    /// Why the file cannot be used. Nothing has changed then.
    pub(super) fn reload(&mut self) -> Result<Reloaded, String> {
        self.begin_reload();
        let taken = Config::load(&self.config_file.path).map_err(|error| error.to_string()).and_then(|new| {
            let reload = reload(&self.config, &new);
            self.adopt(&reload.next)?;
            Ok(reload)
        });
        // The service manager is told by the pass that follows.
        self.due = Instant::now();
        match taken {
            Ok(Reload { changed, needs_restart, .. }) => {
                self.events.record(EventKind::ConfigReloaded, told(&changed, &needs_restart));
                let (path, read) = (self.config_file.path.clone(), SystemTime::now());
                self.config_file =
                    ConfigFile { path, read, error: None, needs_restart: needs_restart.clone() };
                Ok(Reloaded { changed, needs_restart })
            }
            Err(error) => {
                let text = format!("{error}\nwhat was in force before stays in force");
                self.events.record(EventKind::ConfigRefused, text);
                self.config_file.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The same, and makes the pass, so that what has changed is in effect.
    pub(super) async fn reload_now(&mut self) -> Result<Reloaded, String> {
        let reloaded = self.reload()?;
        self.pass().await;
        Ok(reloaded)
    }

    /// Goes on with another configuration, which differs in settings only that can change at once. All of them do, or, on
    /// an error, none.
    fn adopt(&mut self, next: &Config) -> Result<(), String> {
        // First what can fail.
        let filter = self.log.filter().to_owned();
        if next.log != self.config.log {
            self.log.set(&next.log)?;
        }
        if next.program_log != self.config.program_log
            && let Err(error) = self.set_program_log(next.program_log)
        {
            self.log.set(&filter)?;
            return Err(error);
        }
        let before = std::mem::replace(&mut self.config, next.clone());
        let now = Instant::now();
        if before.brake != next.brake {
            self.reconciler.brake.set(next.brake);
        }
        let resolved_by = |config: &Config| (config.uplinks.clone(), config.source_check, config.pod_mtu);
        if resolved_by(&before) != resolved_by(next) {
            // What is looked at goes by the pods' MTU.
            (self.stale.host, self.stale.resolution) = (true, true);
        }
        if before.masquerade != next.masquerade {
            self.stale.selection = true;
            if next.masquerade {
                self.table_watch.start(&mut self.tasks);
            }
        }
        if before.audit_interval != next.audit_interval {
            self.audit = now + next.audit_interval;
            self.map_audit = self.map_audit.min(self.audit);
        }
        Ok(())
    }

    /// What an operator should look at.
    pub(super) fn config_problems(&self) -> Option<String> {
        let error = self.config_file.error.as_ref()?;
        let first = error.lines().next().unwrap_or_default();
        Some(format!("the configuration as it is now is not in force: {first}"))
    }
}

/// What a reload came to, for people.
fn told(changed: &[SettingChange], needs_restart: &[SettingChange]) -> String {
    let list =
        |changes: &[SettingChange]| changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let changed = match changed {
        [] => "nothing has changed".to_owned(),
        some => format!("changed: {}", list(some)),
    };
    match needs_restart {
        [] => changed,
        some => format!("{changed}; needs a restart: {}", list(some)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn change(setting: &str) -> SettingChange {
        SettingChange { setting: setting.to_owned(), before: "1".to_owned(), now: "2".to_owned() }
    }

    #[test]
    fn a_reload_is_told_in_a_line() {
        assert_eq!(told(&[], &[]), "nothing has changed");
        assert_eq!(
            told(&[change("log"), change("brake.share")], &[]),
            "changed: log (from 1 to 2), brake.share (from 1 to 2)"
        );
        assert_eq!(told(&[], &[change("xdp")]), "nothing has changed; needs a restart: xdp (from 1 to 2)");
    }

    #[tokio::test]
    async fn a_file_that_says_the_same_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.yaml");
        fs::write(&path, "node: a1").unwrap();
        let (sender, mut changed) = mpsc::channel(1);
        let task = tokio::spawn(follow(path.clone(), Some(b"node: a1".to_vec()), sender));
        fs::write(&path, "node: a1").unwrap();
        assert!(timeout(Duration::from_millis(300), changed.recv()).await.is_err());
        let next = folder.path().join("next.yaml");
        fs::write(&next, "node: a2").unwrap();
        fs::rename(&next, &path).unwrap();
        timeout(Duration::from_secs(10), changed.recv()).await.unwrap().unwrap();
        drop(changed);
        timeout(Duration::from_secs(10), task).await.unwrap().unwrap().unwrap();
    }
}
