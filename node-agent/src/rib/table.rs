use std::{collections::BTreeMap, time::Duration};

use crate::model::{
    Cluster, Node, NodeName, Object, ObjectKey, Pod, Route, SourceEvent, SourceId, SourceUpdate,
};

/// Everything that the sources said, by source and object. The one owner of it: whoever wants to know
/// asks the table, whoever learns something sends it an update.
#[derive(Debug, Clone, Default)]
pub struct Table {
    sources: BTreeMap<SourceId, Source>,
}

/// One source's part of the table.
#[derive(Debug, Clone, Default)]
struct Source {
    synced: bool,
    error: Option<String>,
    read: Option<Duration>,
    objects: BTreeMap<ObjectKey, Object>,
}

/// How a source is doing, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// The source.
    pub source: SourceId,
    /// Whether it has told all it has at least once.
    pub synced: bool,
    /// Why it could not be read the last time; none once it could.
    pub error: Option<String>,
    /// How long it took to read and check what it told last; none if it told nothing yet.
    pub read: Option<Duration>,
    /// Nodes it states.
    pub nodes: usize,
    /// Pods it states.
    pub pods: usize,
    /// Routes it states.
    pub routes: usize,
}

impl Table {
    /// A table that waits for these sources.
    pub fn new(enabled: impl IntoIterator<Item = SourceId>) -> Self {
        Self { sources: enabled.into_iter().map(|source| (source, Source::default())).collect() }
    }

    /// Takes in what a source says, and tells whether any object is different now. Upserts and
    /// withdrawals are differences to what the source said before, so a reload is no special case. A
    /// source that fails keeps its objects in force; the error stands until the source says Synced again.
    ///
    /// A source that was not announced as enabled becomes so: then [`Table::ready`] waits for it, too.
    pub fn apply(&mut self, update: SourceUpdate) -> bool {
        let source = self.sources.entry(update.source).or_default();
        match update.event {
            SourceEvent::Upsert(object) => {
                let key = object.key();
                let changed = source.objects.get(&key) != Some(&*object);
                source.objects.insert(key, *object);
                changed
            }
            SourceEvent::Withdraw(key) => source.objects.remove(&key).is_some(),
            SourceEvent::Synced => {
                source.synced = true;
                source.error = None;
                false
            }
            SourceEvent::Read(took) => {
                source.read = Some(took);
                false
            }
            SourceEvent::Failed(error) => {
                source.error = Some(error);
                false
            }
        }
    }

    /// Whether every enabled source has said Synced once. Before that the table may lack objects that
    /// exist, so nothing may be deleted anywhere (invariant 2).
    #[must_use]
    pub fn ready(&self) -> bool {
        self.sources.values().all(|source| source.synced)
    }

    /// How the sources are doing.
    #[must_use]
    pub fn statuses(&self) -> Vec<SourceStatus> {
        let status = |(id, source): (&SourceId, &Source)| {
            let count =
                |wanted: fn(&ObjectKey) -> bool| source.objects.keys().filter(|key| wanted(key)).count();
            SourceStatus {
                source: id.clone(),
                synced: source.synced,
                error: source.error.clone(),
                read: source.read,
                nodes: count(|key| matches!(key, ObjectKey::Node(_))),
                pods: count(|key| matches!(key, ObjectKey::Pod(_))),
                routes: count(|key| matches!(key, ObjectKey::Route(_))),
            }
        };
        self.sources.iter().map(status).collect()
    }

    /// The cluster's settings: of the preferred source among those that state any, else the defaults.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.objects()
            .find_map(|object| match object {
                Object::Cluster(cluster) => Some(*cluster),
                Object::Node(_) | Object::Pod(_) | Object::Route(_) => None,
            })
            .unwrap_or_default()
    }

    /// A node as this source states it.
    #[must_use]
    pub fn node(&self, source: &SourceId, name: &NodeName) -> Option<&Node> {
        match self.sources.get(source)?.objects.get(&ObjectKey::Node(name.clone()))? {
            Object::Node(node) => Some(node),
            Object::Cluster(_) | Object::Pod(_) | Object::Route(_) => None,
        }
    }

    /// Every node of every source: of the preferred source first, of each by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.objects().filter_map(|object| match object {
            Object::Node(node) => Some(node),
            Object::Cluster(_) | Object::Pod(_) | Object::Route(_) => None,
        })
    }

    /// Every pod of every source: of the preferred source first, of each by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.objects().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            Object::Cluster(_) | Object::Node(_) | Object::Route(_) => None,
        })
    }

    /// Every route of every source: of the preferred source first, of each by prefix.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.objects().filter_map(|object| match object {
            Object::Route(route) => Some(route),
            Object::Cluster(_) | Object::Node(_) | Object::Pod(_) => None,
        })
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.sources.values().flat_map(|source| source.objects.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::EncapsulationMode,
        rib::fixtures::{node, pod, upsert},
    };

    fn event(event: SourceEvent) -> SourceUpdate {
        SourceUpdate { source: SourceId::FILE, event }
    }

    /// Invariant 2: nothing is deleted before every enabled source has said Synced.
    #[test]
    fn invariant_2_ready_only_after_every_source_has_synced() {
        let mut table = Table::new([SourceId::FILE]);
        assert!(!table.ready());
        table.apply(upsert(Object::Node(node("a1", "10.0.1.11", &["10.244.1.0/24"]))));
        table.apply(event(SourceEvent::Failed("cannot read cluster.yaml".into())));
        assert!(!table.ready(), "objects and errors are no Synced");
        table.apply(event(SourceEvent::Synced));
        assert!(table.ready());
        table.apply(event(SourceEvent::Failed("cannot read cluster.yaml".into())));
        assert!(table.ready(), "it was complete once, and what it said stays in force");
    }

    #[test]
    fn a_source_that_speaks_without_being_enabled_must_sync_too() {
        let mut table = Table::new([]);
        table.apply(upsert(Object::Cluster(Cluster::default())));
        assert!(!table.ready());
    }

    #[test]
    fn a_failed_source_keeps_its_objects_and_the_error_goes_with_the_next_sync() {
        let mut table = Table::new([SourceId::FILE]);
        table.apply(upsert(Object::Node(node("a1", "10.0.1.11", &["10.244.1.0/24"]))));
        table.apply(upsert(Object::Pod(pod("default/web", "a1", "10.244.1.10"))));
        table.apply(event(SourceEvent::Read(Duration::from_millis(7))));
        table.apply(event(SourceEvent::Synced));
        table.apply(event(SourceEvent::Failed("line 3: no".into())));
        let failed = SourceStatus {
            source: SourceId::FILE,
            synced: true,
            error: Some("line 3: no".into()),
            read: Some(Duration::from_millis(7)),
            nodes: 1,
            pods: 1,
            routes: 0,
        };
        assert_eq!(table.statuses(), vec![failed.clone()]);
        table.apply(event(SourceEvent::Synced));
        assert_eq!(table.statuses(), [SourceStatus { error: None, ..failed }]);
    }

    #[test]
    fn apply_tells_what_changed() {
        let mut table = Table::new([SourceId::FILE]);
        let a1 = Object::Node(node("a1", "10.0.1.11", &["10.244.1.0/24"]));
        assert!(table.apply(upsert(a1.clone())));
        assert!(!table.apply(upsert(a1.clone())), "the same again");
        assert!(table.apply(upsert(Object::Node(node("a1", "10.0.1.12", &["10.244.1.0/24"])))));
        assert!(table.apply(event(SourceEvent::Withdraw(a1.key()))));
        assert!(!table.apply(event(SourceEvent::Withdraw(a1.key()))), "already gone");
        assert_eq!(table.nodes().count(), 0);
        let always = Cluster { encapsulation: EncapsulationMode::Always, ..Cluster::default() };
        assert_eq!(table.cluster(), Cluster::default());
        assert!(table.apply(upsert(Object::Cluster(always))));
        assert_eq!(table.cluster(), always);
    }
}
