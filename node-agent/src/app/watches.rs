//! What tells the agent of changes without being asked. A watch that breaks is started again, ever later: the agent can do
//! without for a while, since the audit finds what it would have told, and ending for it would take away the rest. As long
//! as one is broken, `status` says so.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tracing::info;

use super::{App, path_mtu, tasks::Tasks};
use crate::{
    host::{Changes, HostError, HostWatch, PathMtuWatch, Reachability},
    masquerade::TableWatch,
    model::{LinkNeighbour, TooBigReport},
};

/// The first pause before a watch is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    /// The host's network.
    Host,
    /// Our nftables table.
    Table,
    /// What routers tell of the path MTU.
    PathMtu,
    /// Neighbours on which a choice among several ways depends.
    Neighbours,
}

impl Watched {
    /// The name of its task.
    const fn task(self) -> &'static str {
        match self {
            Self::Host => "host-watch",
            Self::Table => "table-watch",
            Self::PathMtu => "path-mtu-watch",
            Self::Neighbours => "neighbours-watch",
        }
    }

    /// What it means that it is broken.
    const fn broken(self) -> &'static str {
        match self {
            Self::Host => "changes of the host's network are found by the audit only",
            Self::Table => "changes of the nftables table are found by the audit only",
            Self::PathMtu => "every link between the nodes must take what the uplinks do",
            Self::Neighbours => "neighbours that do not answer stay in use",
        }
    }
}

impl Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.task())
    }
}

/// A watch broke, with the reason, or is there again.
pub(super) type WatchNews = (Watched, Result<(), String>);

/// What the kernel tells of changes by others, and by the agent itself.
pub(super) struct Told {
    pub(super) network: mpsc::Receiver<()>,
    pub(super) hooks: mpsc::Receiver<()>,
    pub(super) table: mpsc::Receiver<()>,
    pub(super) path_mtu: mpsc::Receiver<TooBigReport>,
    /// Those of [`Followed`] that do not answer.
    pub(super) failed: watch::Receiver<BTreeSet<LinkNeighbour>>,
    pub(super) watches: mpsc::Receiver<WatchNews>,
}

/// Takes the neighbours that are to be followed.
pub(super) type Followed = watch::Sender<BTreeSet<LinkNeighbour>>;

/// Starts the watch of our nftables table, once there is to be one.
pub(super) struct TableWatcher {
    /// None once it has been started: it goes on as long as the agent does.
    ends: Option<(mpsc::Sender<()>, mpsc::Sender<WatchNews>)>,
}

impl TableWatcher {
    /// Starts it, unless it runs.
    pub(super) fn start(&mut self, tasks: &mut Tasks) {
        let Some((table, news)) = self.ends.take() else { return };
        let run = move |watch: TableWatch| watch.run(table.clone());
        spawn(tasks, Watched::Table, None, TableWatch::subscribe, run, &news);
    }
}

/// Starts the watches, that of the table only where there is to be one.
///
/// # Errors
/// The host's network cannot be watched.
pub(super) fn start(
    tasks: &mut Tasks,
    masquerade: bool,
) -> Result<(Told, TableWatcher, Followed), HostError> {
    let (network, network_changed) = mpsc::channel(1);
    let (hooks, hooks_changed) = mpsc::channel(1);
    let (table, table_changed) = mpsc::channel(1);
    let (reports, path_mtu) = mpsc::channel(path_mtu::WAITING);
    let (news, watches) = mpsc::channel(4);
    // Before anything is read, so that nothing in between is missed.
    let first = Some(HostWatch::subscribe()?);
    let run = move |watch: HostWatch| watch.run(Changes { network: network.clone(), hooks: hooks.clone() });
    spawn(tasks, Watched::Host, first, HostWatch::subscribe, run, &news);
    let mut table_watch = TableWatcher { ends: Some((table, news.clone())) };
    if masquerade {
        table_watch.start(tasks);
    }
    let run = move |watch: PathMtuWatch| watch.run(reports.clone());
    spawn(tasks, Watched::PathMtu, None, PathMtuWatch::subscribe, run, &news);
    let (followed, neighbours) = watch::channel(BTreeSet::new());
    let (failing, failed) = watch::channel(BTreeSet::new());
    let run = move |watch: Reachability| watch.run(neighbours.clone(), failing.clone());
    let begin = || Ok::<_, HostError>(Reachability::new());
    spawn(tasks, Watched::Neighbours, None, begin, run, &news);
    let (network, hooks, table) = (network_changed, hooks_changed, table_changed);
    Ok((Told { network, hooks, table, path_mtu, failed, watches }, table_watch, followed))
}

fn spawn<W, E, R>(
    tasks: &mut Tasks,
    watched: Watched,
    first: Option<W>,
    subscribe: impl Fn() -> Result<W, E> + Send + 'static,
    run: impl Fn(W) -> R + Send + 'static,
    news: &mpsc::Sender<WatchNews>,
) where
    W: Send + 'static,
    E: Display + Send + 'static,
    R: Future<Output = Result<(), E>> + Send + 'static,
{
    let news = news.clone();
    tasks.spawn(watched.task(), keep(watched, first, subscribe, run, news, FIRST_PAUSE));
}

/// Runs a watch, and starts it again when it breaks or cannot be started. Ends when nobody listens any more.
async fn keep<W, E, R>(
    watched: Watched,
    mut first: Option<W>,
    subscribe: impl Fn() -> Result<W, E>,
    run: impl Fn(W) -> R,
    news: mpsc::Sender<WatchNews>,
    first_pause: Duration,
) -> Result<(), E>
where
    E: Display,
    R: Future<Output = Result<(), E>>,
{
    let (mut pause, mut broken) = (first_pause, false);
    loop {
        let started = Instant::now();
        let ended = match first.take().map_or_else(&subscribe, Ok) {
            Ok(watch) => {
                if std::mem::take(&mut broken) && news.send((watched, Ok(()))).await.is_err() {
                    return Ok(());
                }
                run(watch).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return Ok(()) };
        broken = true;
        if news.send((watched, Err(error.to_string()))).await.is_err() {
            return Ok(());
        }
        if started.elapsed() > LONGEST_PAUSE {
            pause = first_pause;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl App {
    /// Notes that a watch broke or is there again. What happened in between nobody has told.
    pub(super) fn follow_watch(&mut self, (watched, state): WatchNews) {
        match state {
            Err(error) => {
                let problem =
                    format!("{}: {error} (the watch is started again, ever later)", watched.broken());
                self.broken_watches.insert(watched, problem);
            }
            Ok(()) => {
                info!("the {watched} is there again");
                self.broken_watches.remove(&watched);
                (self.stale.host, self.stale.table) = (true, true);
                self.hooks_changed();
            }
        }
        // Problems are told of by a pass.
        self.due = Instant::now();
    }

    /// What an operator should look at.
    pub(super) fn watch_problems(&self) -> impl Iterator<Item = String> {
        let matters = |watched: Watched| watched != Watched::Table || self.config.masquerade;
        self.broken_watches
            .iter()
            .filter(move |(watched, _)| matters(**watched))
            .map(|(_, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn a_watch_that_breaks_is_started_again_and_each_break_is_told() {
        let attempts = AtomicU32::new(0);
        let subscribe = || match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no socket".to_owned()),
            number => Ok(number),
        };
        let run = async |number| {
            if number == 1 { Err("it broke".to_owned()) } else { pending().await }
        };
        let (sender, mut news) = mpsc::channel(4);
        let kept = keep(Watched::Host, None, subscribe, run, sender, Duration::from_millis(1));
        let told = async {
            let mut told = Vec::new();
            while told.len() < 4 {
                told.extend(news.recv().await);
            }
            told
        };
        let told = tokio::select! {
            ended = kept => panic!("the watch is not started again: {ended:?}"),
            told = told => told,
        };
        let expected = [Err("no socket".to_owned()), Ok(()), Err("it broke".to_owned()), Ok(())];
        assert_eq!(told, expected.map(|state| (Watched::Host, state)));
    }

    #[tokio::test]
    async fn a_watch_that_nobody_listens_to_ends() {
        let (sender, news) = mpsc::channel(4);
        let subscribe = || Ok::<_, String>(());
        let run = async |()| Ok(());
        assert_eq!(keep(Watched::Table, Some(()), subscribe, run, sender.clone(), FIRST_PAUSE).await, Ok(()));
        drop(news);
        let run = async |()| Err("it broke".to_owned());
        assert_eq!(keep(Watched::Table, Some(()), subscribe, run, sender, FIRST_PAUSE).await, Ok(()));
    }
}
