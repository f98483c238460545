use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::{
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};

use super::*;
use crate::model::{Object, ObjectKey};

/// The poll never comes: what is seen, the watch has seen.
const WATCH_ONLY: Timing = Timing { quiet: Duration::from_millis(20), poll: Duration::from_secs(3600) };

fn state(address: &str) -> String {
    format!("nodes:\n  - name: a1\n    addresses: [{address}]\n")
}

fn start(path: &Path, timing: Timing) -> Receiver<SourceUpdate> {
    let (updates, receiver) = mpsc::channel(16);
    tokio::spawn(run(FileSource::new(path.to_owned(), Part::WHOLE), updates, timing));
    receiver
}

/// The next event in short form: address of the node, `gone`, `synced`, or the failure's text.
async fn next(receiver: &mut Receiver<SourceUpdate>) -> String {
    let update = loop {
        let update =
            timeout(Duration::from_secs(10), receiver.recv()).await.expect("no event in 10 s").unwrap();
        if !matches!(update.event, SourceEvent::Read(_)) {
            break update;
        }
    };
    assert_eq!(update.source, SourceId::FILE);
    match update.event {
        SourceEvent::Upsert(object) => match *object {
            Object::Node(node) => node.addresses[0].to_string(),
            other => format!("{:?}", other.key()),
        },
        SourceEvent::Withdraw(ObjectKey::Node(_)) => "gone".to_owned(),
        SourceEvent::Withdraw(other) => format!("{other:?}"),
        SourceEvent::Synced => "synced".to_owned(),
        SourceEvent::Failed(text) => text,
        SourceEvent::Read(_) => unreachable!("left out above"),
    }
}

async fn expect(receiver: &mut Receiver<SourceUpdate>, events: &[&str]) {
    for event in events {
        assert_eq!(next(receiver).await, *event);
    }
}

/// A folder with a state in it, and the watch's first events taken.
async fn started(timing: Timing) -> (TempDir, PathBuf, Receiver<SourceUpdate>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.yaml");
    fs::write(&path, state("10.0.1.1")).unwrap();
    let mut receiver = start(&path, timing);
    expect(&mut receiver, &["Cluster", "10.0.1.1", "synced"]).await;
    (folder, path, receiver)
}

#[tokio::test]
async fn a_file_renamed_over_the_old_one_is_read() {
    let (folder, path, mut receiver) = started(WATCH_ONLY).await;
    let next = folder.path().join("next.yaml");
    fs::write(&next, state("10.0.1.2")).unwrap();
    fs::rename(&next, &path).unwrap();
    expect(&mut receiver, &["10.0.1.2", "synced"]).await;
}

#[tokio::test]
async fn a_file_written_in_place_is_read_when_the_writer_has_stopped() {
    use std::io::Write as _;
    let (_folder, path, mut receiver) = started(WATCH_ONLY).await;
    let text = state("10.0.1.2") + "  - name: a2\n    addresses: [10.0.1.3]\n";
    let mut file = fs::File::create(&path).unwrap();
    for part in text.as_bytes().chunks(16) {
        file.write_all(part).unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    drop(file);
    expect(&mut receiver, &["10.0.1.2", "10.0.1.3", "synced"]).await;
}

#[tokio::test]
async fn a_config_map_swap_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, address) in [("..v1", "10.0.1.1"), ("..v2", "10.0.1.2")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("cluster.yaml"), state(address)).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/cluster.yaml", at("cluster.yaml")).unwrap();
    let mut receiver = start(&at("cluster.yaml"), WATCH_ONLY);
    expect(&mut receiver, &["Cluster", "10.0.1.1", "synced"]).await;
    symlink("..v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    expect(&mut receiver, &["10.0.1.2", "synced"]).await;
}

/// The watch is on the old folder and sees nothing; the poll does, and moves the watch.
#[tokio::test]
async fn a_swapped_folder_is_seen_by_the_poll_and_watched_from_then_on() {
    let parent = tempfile::tempdir().unwrap();
    let at = |name: &str| parent.path().join(name);
    for (version, address) in [("v1", "10.0.1.1"), ("v2", "10.0.1.2")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("cluster.yaml"), state(address)).unwrap();
    }
    symlink("v1", at("current")).unwrap();
    let timing = Timing { quiet: Duration::from_millis(20), poll: Duration::from_millis(100) };
    let mut receiver = start(&at("current/cluster.yaml"), timing);
    expect(&mut receiver, &["Cluster", "10.0.1.1", "synced"]).await;
    symlink("v2", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    expect(&mut receiver, &["10.0.1.2", "synced"]).await;
    fs::write(at("v2/cluster.yaml"), state("10.0.1.3")).unwrap();
    expect(&mut receiver, &["10.0.1.3", "synced"]).await;
}

#[tokio::test]
async fn a_missing_file_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.yaml");
    let mut receiver = start(&path, WATCH_ONLY);
    let missing = format!("cannot read {}: No such file or directory (os error 2)", path.display());
    expect(&mut receiver, &[&missing]).await;
    fs::write(&path, state("10.0.1.1")).unwrap();
    expect(&mut receiver, &["Cluster", "10.0.1.1", "synced"]).await;
}

#[tokio::test]
async fn a_bad_file_is_told_once_and_withdraws_nothing() {
    let (_folder, path, mut receiver) =
        started(Timing { poll: Duration::from_millis(30), ..WATCH_ONLY }).await;
    fs::write(&path, "nodes: []\n").unwrap();
    let failed = format!(
        "cannot use {}:\ncluster.yaml:1:8: nodes: a cluster without nodes; allowed: at least one node",
        path.display()
    );
    expect(&mut receiver, &[&failed]).await;
    // Some polls later it still says the same, so nothing more is told.
    sleep(Duration::from_millis(200)).await;
    fs::write(&path, state("10.0.1.1")).unwrap();
    expect(&mut receiver, &["synced"]).await;
}

#[tokio::test]
async fn the_task_ends_with_its_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let (updates, receiver) = mpsc::channel(16);
    let task = tokio::spawn(run(
        FileSource::new(folder.path().join("cluster.yaml"), Part::WHOLE),
        updates,
        WATCH_ONLY,
    ));
    drop(receiver);
    timeout(Duration::from_secs(10), task).await.expect("the task goes on").unwrap();
}
