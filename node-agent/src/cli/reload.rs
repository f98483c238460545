use super::{output::table, query::Query};
use crate::{
    api::{Reloaded, Request, Response},
    config::SettingChange,
};

/// Arguments of `node-agent reload`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    query: Query,
}

/// Has the agent read its configuration again, and tells what has changed and what needs a restart.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Reloaded(reloaded) = response { Some(reloaded) } else { None };
    args.query.show(&Request::Reload, take, show).await
}

fn show(reloaded: &Reloaded) -> String {
    let Reloaded { changed, needs_restart } = reloaded;
    let changed = match changed.as_slice() {
        [] => "nothing has changed\n".to_owned(),
        some => changes(["CHANGED", "FROM", "TO"], some),
    };
    match needs_restart.as_slice() {
        [] => changed,
        some => format!("{changed}\n{}", changes(["NEEDS A RESTART", "FROM", "TO"], some)),
    }
}

/// Settings, one a line.
pub(super) fn changes(headers: [&str; 3], changes: &[SettingChange]) -> String {
    let row = |change: &SettingChange| [change.setting.clone(), change.before.clone(), change.now.clone()];
    table(headers, changes.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(setting: &str, before: &str, now: &str) -> SettingChange {
        let [setting, before, now] = [setting, before, now].map(str::to_owned);
        SettingChange { setting, before, now }
    }

    #[test]
    fn what_has_changed_and_what_has_not_is_told() {
        let mut reloaded = Reloaded { changed: vec![], needs_restart: vec![] };
        assert_eq!(show(&reloaded), "nothing has changed\n");
        reloaded.changed.push(change("log", "info", "debug"));
        reloaded.needs_restart.push(change("attach", "auto", "clsact"));
        assert_eq!(
            show(&reloaded),
            "CHANGED  FROM  TO\nlog      info  debug\n\nNEEDS A RESTART  FROM  TO\nattach           auto  clsact\n"
        );
    }
}
