use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Something that can be kept in the state directory.
pub trait Document: Serialize + DeserializeOwned {
    /// Its name; its file is called so, with `.json` behind.
    const NAME: &'static str;
    /// The version of its form. Another one is not understood.
    const VERSION: u32;
}

/// Why a file is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentDefect {
    /// It is no document of ours, or its beginning is damaged.
    #[error("it is no document of Podroute, or its beginning is damaged")]
    Foreign,
    /// It is another document of ours.
    #[error("it is the document {0:?}")]
    Another(String),
    /// An agent of another version wrote it.
    #[error("its version is {found}, and this agent knows {known}")]
    Version {
        /// The version that it has.
        found: u32,
        /// The version that is known.
        known: u32,
    },
    /// It was cut short or changed since it was written.
    #[error("it was torn or changed: its checksum is wrong")]
    Checksum,
    /// What it says has no meaning.
    #[error("its content has no meaning: {0}")]
    Content(String),
}

/// The first line of a document; the content is the second.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    podroute: String,
    version: u32,
    /// Of everything else: 16 hexadecimal digits.
    checksum: String,
}

impl Header {
    fn of<D: Document>(content: &[u8]) -> Self {
        let checksum = format!("{:016x}", checksum(D::NAME, D::VERSION, content));
        Self { podroute: D::NAME.to_owned(), version: D::VERSION, checksum }
    }
}

pub(super) fn encode<D: Document>(document: &D) -> serde_json::Result<Vec<u8>> {
    let content = serde_json::to_vec(document)?;
    let mut bytes = serde_json::to_vec(&Header::of::<D>(&content))?;
    bytes.push(b'\n');
    bytes.extend(content);
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn decode<D: Document>(bytes: &[u8]) -> Result<D, DocumentDefect> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(DocumentDefect::Foreign)?;
    let (first, rest) = bytes.split_at(end);
    let header: Header = serde_json::from_slice(first).map_err(|_| DocumentDefect::Foreign)?;
    if header.podroute != D::NAME {
        return Err(DocumentDefect::Another(header.podroute));
    }
    if header.version != D::VERSION {
        return Err(DocumentDefect::Version { found: header.version, known: D::VERSION });
    }
    let content =
        rest.strip_prefix(b"\n").and_then(|rest| rest.strip_suffix(b"\n")).ok_or(DocumentDefect::Checksum)?;
    // The same bytes, not the same meaning: JSON can say one thing in many ways.
    let written = serde_json::to_vec(&Header::of::<D>(content)).map_err(|_| DocumentDefect::Foreign)?;
    if written != first {
        return Err(DocumentDefect::Checksum);
    }
    serde_json::from_slice(content).map_err(|error| DocumentDefect::Content(error.to_string()))
}

/// FNV-1a, 64 bits: every change of one byte shows, and others but for one in 2^64.
fn checksum(name: &str, version: u32, content: &[u8]) -> u64 {
    let bytes = name.bytes().chain(version.to_be_bytes()).chain(content.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
