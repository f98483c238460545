//! What plugs in by the trait alone: a source that holds its updates in memory, beside the file.

use std::{fs, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    model::{Object, SourceEvent},
    rib::{
        Table,
        fixtures::{node, stated_by},
        select,
    },
};

/// States these objects, and then that it is in step.
struct MemorySource {
    id: SourceId,
    objects: Vec<Object>,
}

impl Source for MemorySource {
    fn id(&self) -> SourceId {
        self.id.clone()
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn spawn(self: Box<Self>, updates: mpsc::Sender<SourceUpdate>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let upserts = self.objects.into_iter().map(|object| SourceEvent::Upsert(Box::new(object)));
            for event in upserts.chain([SourceEvent::Synced]) {
                let update = SourceUpdate { source: self.id.clone(), event };
                if updates.send(update).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// What the table holds once all of these have told everything.
async fn table_of(sources: Vec<Box<dyn Source>>) -> Table {
    let (sender, mut updates) = mpsc::channel(4);
    let mut table = Table::new(sources.iter().map(|source| source.id()));
    let tasks: Vec<_> = sources.into_iter().map(|source| source.spawn(sender.clone())).collect();
    drop(sender);
    while !table.ready() {
        let update = timeout(Duration::from_secs(60), updates.recv()).await;
        table.apply(update.expect("a source does not tell all it has").expect("all sources have ended"));
    }
    tasks.iter().for_each(JoinHandle::abort);
    table
}

#[tokio::test]
async fn a_second_source_plugs_in_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.yaml");
    fs::write(&path, "nodes:\n- {name: a1, addresses: [10.0.1.11]}\n- {name: a2, addresses: [10.0.1.12]}\n")
        .unwrap();
    let cases = [(50, "10.0.1.99", ["etcd", "file"]), (150, "10.0.1.12", ["file", "etcd"])];
    for (preference, leads_to, order) in cases {
        let id = SourceId::new("etcd", preference);
        let a2 = stated_by(&id, node("a2", "10.0.1.99", &[]));
        let b1 = stated_by(&id, node("b1", "10.0.2.11", &["10.244.3.0/24"]));
        let memory = MemorySource { id: id.clone(), objects: vec![Object::Node(a2), Object::Node(b1)] };
        let file = file::FileSource::new(path.clone(), file::Part::WHOLE);
        assert_eq!(file.place(), path.display().to_string());
        let table = table_of(vec![Box::new(file), Box::new(memory)]).await;

        let statuses = table.statuses();
        let sources: Vec<String> = statuses.iter().map(|status| status.source.to_string()).collect();
        assert_eq!(sources, order, "the preferred first");
        assert!(statuses.iter().all(|status| status.nodes == 2), "{statuses:?}");

        let selection = select(&table, &"a1".parse().unwrap());
        assert_eq!(selection.nodes.len(), 2, "a1 of the file is this node");
        assert_eq!(selection.nodes[&"a2".parse().unwrap()].addresses[0].to_string(), leads_to);
        let of_b1 = &selection.routes[&"10.244.3.0/24".parse().unwrap()];
        assert_eq!(of_b1.origin.to_string(), "etcd cluster.yaml:b1");
    }
}
