//! The change of one node that concerns nothing else is in the maps before a pass over everything has been made.

use tokio::time::Instant;

use super::{App, HOST_SETTLE, Preparation};
use crate::{
    model::{Node, Object, SourceEvent, SourceUpdate},
    rib::{Table, amendment},
};

/// What the sources have told since the last pass.
#[derive(Debug, Default)]
pub(super) enum News {
    /// Nothing that matters.
    #[default]
    Nothing,
    /// One node, which had been known, is different.
    Node {
        /// As it was.
        before: Node,
        /// As it is.
        now: Node,
    },
    /// Anything else.
    More,
}

impl News {
    /// Takes in what a source says. The table is as it was before.
    pub(super) fn take(&mut self, update: &SourceUpdate, table: &Table) {
        let SourceUpdate { source, event } = update;
        let node = match event {
            SourceEvent::Synced | SourceEvent::Failed(_) | SourceEvent::Read(_) => return,
            SourceEvent::Withdraw(_) => None,
            SourceEvent::Upsert(object) => match &**object {
                Object::Node(now) => {
                    table.node(source, &now.name).map(|before| (before.clone(), now.clone()))
                }
                Object::Cluster(_) | Object::Pod(_) | Object::Route(_) => None,
            },
        };
        *self = match (&*self, node) {
            (Self::Nothing, Some((before, now))) => Self::Node { before, now },
            _ => Self::More,
        };
    }
}

impl App {
    /// Brings the change of one node into the maps at once if nothing else has to do with it; the next pass confirms
    /// it. Only once everything has been made sure of by a pass: then selection and resolution are of the table as it
    /// was before.
    pub(super) async fn shortcut(&mut self) {
        let News::Node { before, now } = &self.news else { return };
        if !self.settled {
            return;
        }
        let preparation = Preparation::starts();
        let known = (&self.selection, &self.resolved);
        let Some(amendment) = amendment((before, now), &self.table, known, &self.foreign) else { return };
        if !self.reconciler.shortcut(&amendment, &self.view).await {
            return;
        }
        amendment.apply(now, &mut self.selection, &mut self.resolved);
        self.measured.decided();
        self.news = News::Nothing;
        self.passes.record(preparation, self.reconciler.report(), self.told.take());
        self.due = Instant::now() + HOST_SETTLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ObjectKey, SourceId},
        rib::fixtures::{node, pod, upsert},
    };

    /// What the news are after these updates, each of which the table has taken before the next one comes.
    fn after(updates: impl IntoIterator<Item = SourceUpdate>) -> News {
        let mut table = Table::new([SourceId::FILE]);
        table.apply(upsert(Object::Node(node("a1", "10.0.1.11", &["10.244.1.0/24"]))));
        table.apply(upsert(Object::Node(node("a2", "10.0.1.12", &["10.244.2.0/24"]))));
        let mut news = News::default();
        for update in updates {
            news.take(&update, &table);
            table.apply(update);
        }
        news
    }

    fn more_prefixes(name: &str) -> SourceUpdate {
        upsert(Object::Node(node(name, "10.0.1.11", &["10.244.1.0/24", "10.244.9.0/24"])))
    }

    #[test]
    fn one_known_node_and_nothing_else_takes_the_shortcut() {
        let event = |event| SourceUpdate { source: SourceId::FILE, event };
        assert!(matches!(after([]), News::Nothing));
        assert!(matches!(after([event(SourceEvent::Synced)]), News::Nothing));
        let News::Node { before, now } = after([more_prefixes("a1"), event(SourceEvent::Synced)]) else {
            panic!("one node is different");
        };
        assert_eq!((before.pod_prefixes.len(), now.pod_prefixes.len()), (1, 2));
        assert!(matches!(after([more_prefixes("a1"), more_prefixes("a2")]), News::More));
        assert!(matches!(after([more_prefixes("a1"), more_prefixes("a1")]), News::More));
        assert!(matches!(after([more_prefixes("b1")]), News::More), "a new node");
        let web = upsert(Object::Pod(pod("default/web", "a1", "10.244.1.10")));
        assert!(matches!(after([web]), News::More));
        let gone = event(SourceEvent::Withdraw(ObjectKey::Node("a2".parse().unwrap())));
        assert!(matches!(after([more_prefixes("a1"), gone]), News::More));
    }
}
