use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    number: u32,
    text: String,
}

impl Document for Note {
    const NAME: &'static str = "brake";
    const VERSION: u32 = 3;
}

#[derive(Debug, Serialize, Deserialize)]
struct NewerNote {}

impl Document for NewerNote {
    const NAME: &'static str = "brake";
    const VERSION: u32 = 4;
}

#[derive(Debug, Serialize, Deserialize)]
struct OtherNote {}

impl Document for OtherNote {
    const NAME: &'static str = "other";
    const VERSION: u32 = 3;
}

fn note(number: u32) -> Note {
    Note { number, text: "10.244.3.0/24\n\"ü\"".to_owned() }
}

fn store() -> (TempDir, Store<Note>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("a/state"));
    (folder, store)
}

/// What is found where these bytes are the document, and whether they have been set aside.
fn found(bytes: &[u8]) -> Result<Option<Note>, String> {
    let (_folder, store) = store();
    store.save(&note(1)).unwrap();
    fs::write(store.path(), bytes).unwrap();
    let loaded = store.load().map_err(|error| error.to_string());
    if loaded.is_err() {
        assert_eq!(fs::read(store.beside("bad")).unwrap(), bytes, "it is set aside as it was");
        assert_eq!(store.load().unwrap(), None, "the next time there is none");
    }
    loaded
}

#[test]
fn what_was_saved_last_is_loaded() {
    let (_folder, store) = store();
    assert_eq!(store.load().unwrap(), None);
    for number in [1, 2] {
        store.save(&note(number)).unwrap();
        assert_eq!(store.load().unwrap(), Some(note(number)));
    }
    assert_eq!(fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!store.beside("new").exists());
    store.remove().unwrap();
    assert_eq!(store.load().unwrap(), None);
    store.remove().unwrap();
}

/// A crash while a document is written leaves the one before, whatever of the new one has come to the disk.
#[test]
fn a_document_half_written_is_not_looked_at() {
    let (_folder, store) = store();
    store.save(&note(1)).unwrap();
    let new = document::encode(&note(2)).unwrap();
    for length in 0..=new.len() {
        fs::write(store.beside("new"), &new[..length]).unwrap();
        assert_eq!(store.load().unwrap(), Some(note(1)));
    }
    store.save(&note(3)).unwrap();
    assert_eq!(store.load().unwrap(), Some(note(3)));
}

#[test]
fn a_document_cut_at_any_length_is_recognised() {
    let whole = document::encode(&note(1)).unwrap();
    for length in 0..whole.len() {
        found(&whole[..length]).expect_err(&format!("{length} of {} bytes", whole.len()));
    }
    assert_eq!(found(&whole), Ok(Some(note(1))));
}

#[test]
fn a_document_with_any_byte_changed_is_recognised() {
    let whole = document::encode(&note(1)).unwrap();
    for at in 0..whole.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            found(&changed).expect_err(&format!("byte {at} by {change}"));
        }
    }
}

#[test]
fn what_is_not_believed_is_named_with_the_reason() {
    let newer = document::encode(&NewerNote {}).unwrap();
    let other = document::encode(&OtherNote {}).unwrap();
    let sum = format!("{:016x}", 0);
    let header = format!("{{\"podroute\":\"brake\",\"version\":3,\"checksum\":\"{sum}\"}}");
    for (bytes, reason) in [
        (&b""[..], "it is no document of Podroute"),
        (b"[1, 2]\n{}\n", "it is no document of Podroute"),
        (&newer, "its version is 4, and this agent knows 3"),
        (&other, "it is the document \"other\""),
        (format!("{header}\n{{}}\n").as_bytes(), "its checksum is wrong"),
        (&document::encode(&note(1)).unwrap().repeat(2), "its checksum is wrong"),
    ] {
        let error = found(bytes).unwrap_err();
        assert!(error.contains(reason) && error.contains("set aside as"), "{error}");
    }
}

#[test]
fn a_document_whose_content_has_no_meaning_is_set_aside() {
    #[derive(Serialize, Deserialize)]
    struct Wrong(u8);
    impl Document for Wrong {
        const NAME: &'static str = "brake";
        const VERSION: u32 = 3;
    }
    let error = found(&document::encode(&Wrong(7)).unwrap()).unwrap_err();
    assert!(error.contains("its content has no meaning: invalid type: integer `7`"), "{error}");
}

#[test]
fn a_folder_in_the_documents_place_is_set_aside() {
    let (_folder, store) = store();
    fs::create_dir_all(store.path()).unwrap();
    let error = store.load().unwrap_err().to_string();
    assert!(error.contains("no document of Podroute"), "{error}");
    store.save(&note(1)).unwrap();
    assert_eq!(store.load().unwrap(), Some(note(1)));
}

/// Root may write everywhere but where there is no folder.
#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let store: Store<Note> = Store::new(&folder.path().join("file/state"));
    for error in [store.save(&note(1)).unwrap_err(), check(&store.folder).unwrap_err()] {
        let error = error.to_string();
        assert!(error.starts_with("cannot make the folder") && error.contains("file/state"), "{error}");
    }
    check(&folder.path().join("a/b")).unwrap();
}

#[test]
fn cleanup_finds_ours_and_the_folder_only_if_it_is_empty_then() {
    let (_folder, store) = store();
    assert_eq!(leftovers(&store.folder).unwrap(), Vec::<PathBuf>::new());
    store.save(&note(1)).unwrap();
    fs::write(store.beside("bad"), "").unwrap();
    let other = store.folder.join("other.json");
    fs::write(&other, "").unwrap();
    assert_eq!(leftovers(&store.folder).unwrap(), [store.path(), store.beside("bad")]);
    fs::remove_file(other).unwrap();
    let found = leftovers(&store.folder).unwrap();
    assert_eq!(found.last(), Some(&store.folder));
    found.iter().try_for_each(|path| remove_leftover(path)).unwrap();
    assert!(!store.folder.exists());
}

proptest! {
    /// However a document is damaged, the old one is read, or it is recognised as bad.
    #[test]
    fn a_damaged_document_is_never_another_one(
        text in ".{0,40}",
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..4),
    ) {
        let document = Note { number: 7, text };
        let whole = document::encode(&document).unwrap();
        let mut bytes = whole.clone();
        for (at, change) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        bytes.truncate(whole.len() - cut.index(whole.len()));
        match document::decode::<Note>(&bytes) {
            Ok(read) => prop_assert!(bytes == whole && read == document),
            Err(_) => prop_assert!(bytes != whole),
        }
    }
}
