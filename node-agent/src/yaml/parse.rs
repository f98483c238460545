use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use super::{Findings, Place};

/// What can be wrong with a document's structure, whatever it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Structure {
    /// Nothing but blanks and comments.
    #[error("the file is empty; allowed: a YAML document with fields, each as NAME: VALUE")]
    Empty,
    /// Not YAML at all.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// More than one document.
    #[error("a second YAML document begins here; allowed: one document in a file, without a further ---")]
    SecondDocument,
    /// A field that does not exist.
    #[error("unknown field; allowed: {}", allowed.join(", "))]
    UnknownField {
        /// The fields that exist here.
        allowed: Vec<&'static str>,
    },
    /// A field that stands twice in the same mapping.
    #[error("this field stands twice; allowed: once")]
    DuplicateField,
    /// A required field is missing, or has no value.
    #[error("this field is required and missing; allowed: {allowed}")]
    Missing {
        /// What belongs there.
        allowed: &'static str,
    },
    /// A word that is none of the choices.
    #[error("{value:?} is not one of the choices; allowed: {allowed}")]
    NotAChoice {
        /// The word.
        value: String,
        /// The choices.
        allowed: String,
    },
    /// A list where a value belongs, and so on.
    #[error("{found} is of the wrong type; allowed: {allowed}")]
    WrongType {
        /// What stands there.
        found: String,
        /// What belongs there.
        allowed: String,
    },
}

/// Reads a document. Scalars keep the text they were written with when `T` asks for strings.
///
/// # Errors
/// The first structural defect, with its place and the path of its field.
pub fn parse<T: DeserializeOwned, D: From<Structure>>(text: &str, file: &str) -> Result<T, Findings<D>> {
    if text.lines().all(is_blank) {
        return Err(Findings::one(file, None, String::new(), Structure::Empty));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location().map(Place::from);
        let defect = structure(cause(&error), text, place);
        Findings::one(file, place, failing_field::<T>(text).unwrap_or_default(), defect)
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        // The size of the file is bounded where it is read; the defaults for the number of nodes would
        // stop at some twenty thousand pods. Depth and alias limits stay.
        budget: serde_saphyr::budget! { max_events: usize::MAX, max_nodes: usize::MAX },
    }
}

/// Path of the field at which reading fails. A second pass: to keep the path in mind costs more than to
/// read the file.
fn failing_field<T: DeserializeOwned>(text: &str) -> Option<String> {
    let mut field = None;
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        serde_path_to_error::deserialize::<_, T>(deserializer).map_err(|error| {
            field = Some(field_path(error.path(), cause(error.inner())));
            error.into_inner()
        })
    })
    .err()?;
    field
}

/// One of the choices by its word.
///
/// # Errors
/// The word is none of them.
pub fn choose<T: Copy>(word: &str, choices: &[(&str, T)]) -> Result<T, Structure> {
    choices.iter().find(|choice| choice.0 == word).map(|choice| choice.1).ok_or_else(|| {
        let allowed = choices.iter().map(|choice| choice.0).collect::<Vec<_>>().join(", ");
        Structure::NotAChoice { value: word.to_owned(), allowed }
    })
}

/// Whether a line carries nothing of a document.
fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
}

/// The error itself, without the wrapper that tells where an alias was defined.
fn cause(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } => cause(error),
        other => other,
    }
}

fn structure(error: &Error, text: &str, place: Option<Place>) -> Structure {
    let wrong_type =
        |allowed: &str| Structure::WrongType { found: found(text, place), allowed: allowed.to_owned() };
    match error {
        Error::SerdeUnknownField { expected, .. } => Structure::UnknownField { allowed: expected.clone() },
        Error::DuplicateMappingKey { .. } => Structure::DuplicateField,
        Error::MultipleDocuments { .. } => Structure::SecondDocument,
        Error::Unexpected { expected: "sequence start", .. } => wrong_type("a list, such as [one, two]"),
        Error::Unexpected { expected: "mapping start", .. } => wrong_type("fields, each as NAME: VALUE"),
        Error::Unexpected { expected: "string scalar", .. } | Error::NullIntoString { .. } => {
            wrong_type("a single value")
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            wrong_type(expected)
        }
        other => Structure::Syntax(UserMessageFormatter.format_message(other).into_owned()),
    }
}

/// Path of the field that the error is about.
fn field_path(path: &Path, error: &Error) -> String {
    let mut segments: Vec<_> = path.iter().collect();
    let named = match error {
        Error::SerdeUnknownField { field, .. } => Some(field.clone()),
        Error::DuplicateMappingKey { key, .. } => Some(key.clone().unwrap_or_default()),
        _ => None,
    };
    if named.is_some() {
        segments.pop();
    }
    let mut text = String::new();
    for segment in segments {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            // `Located` shows itself to serde as a struct with a field of this name.
            Segment::Map { key } if key == "value" => {}
            Segment::Map { key } => push_name(&mut text, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    if let Some(name) = named {
        push_name(&mut text, &name);
    }
    text
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// What stands at a place, up to the end of its line, for people.
fn found(text: &str, place: Option<Place>) -> String {
    const LONGEST: usize = 40;
    let rest = place.and_then(|place| {
        let line = text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
        let start = usize::try_from(place.column).ok()?.checked_sub(1)?;
        Some(line.chars().skip(start).collect::<String>())
    });
    let rest = rest.unwrap_or_default();
    let rest = rest.split(" #").next().unwrap_or_default().trim();
    match rest.chars().count() {
        0 => "an empty value".to_owned(),
        count if count > LONGEST => format!("\"{}…\"", rest.chars().take(LONGEST).collect::<String>()),
        _ => format!("\"{rest}\""),
    }
}
