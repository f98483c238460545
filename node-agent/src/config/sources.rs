use std::path::{Path, PathBuf};

use super::{
    ConfigDefect, StateFile,
    raw::{RawNamedSource, RawSource},
    valid::TOP,
};
use crate::{
    model::SourceId,
    yaml::{Findings, Located, Place, Structure},
};

/// How many sources there may be: each is a task, a row of `status`, and a label of metrics.
const MOST: usize = 16;
/// Longest name of a source, in bytes.
const LONGEST_NAME: usize = 32;

const NAME: &str = "1 to 32 lower-case letters, digits and '-', a letter first";
const PREFERENCE: &str = "a number from 0 to 254, of which the lower is believed sooner";
const PATH: &str = "path of the cluster-state file, absolute or relative to this file's folder";

/// Where the cluster's state comes from: one file, or several with names and preferences.
pub(super) fn check_sources(
    single: Option<Located<RawSource>>,
    several: Option<Located<Vec<Located<RawNamedSource>>>>,
    folder: &Path,
    findings: &mut Findings<ConfigDefect>,
) -> Option<Vec<StateFile>> {
    let Some(several) = several else { return check_single(single, folder, findings).map(|file| vec![file]) };
    if single.is_some() {
        findings.add(several.place, "sources", ConfigDefect::TwoWaysToNameSources);
        return None;
    }
    let number = several.value.len();
    if !(1..=MOST).contains(&number) {
        let allowed = "1 to 16 sources, each with name and file";
        findings.add(several.place, "sources", ConfigDefect::Value { value: number.to_string(), allowed });
        return None;
    }
    let mut files: Vec<StateFile> = Vec::new();
    for (index, raw) in several.value.into_iter().enumerate() {
        let field = format!("sources[{index}]");
        if let Some(file) = check_named(&field, raw, folder, &files, findings) {
            files.push(file);
        }
    }
    // Every source that is left out has its finding.
    Some(files)
}

fn check_single(
    source: Option<Located<RawSource>>,
    folder: &Path,
    findings: &mut Findings<ConfigDefect>,
) -> Option<StateFile> {
    let missing =
        Structure::Missing { allowed: "source: with file: PATH of the cluster-state file below it" };
    let Some(source) = source else {
        findings.add(TOP, "source", missing);
        return None;
    };
    let Some(file) = source.value.file else {
        findings.add(source.place, "source.file", missing);
        return None;
    };
    let path = check_file(file, "source.file", folder, findings)?.0;
    Some(StateFile { source: SourceId::FILE, path })
}

fn check_named(
    field: &str,
    raw: Located<RawNamedSource>,
    folder: &Path,
    before: &[StateFile],
    findings: &mut Findings<ConfigDefect>,
) -> Option<StateFile> {
    let Located { value: raw, place: whole } = raw;
    let name = required(raw.name, whole, &format!("{field}.name"), NAME, findings);
    let name = name.and_then(|name| check_name(name, &format!("{field}.name"), before, findings));
    let preference = check_preference(raw.preference, &format!("{field}.preference"), findings);
    let path_field = format!("{field}.file");
    let file = required(raw.file, whole, &path_field, PATH, findings);
    let (path, place) = file.and_then(|file| check_file(file, &path_field, folder, findings))?;
    if let Some(other) = before.iter().find(|other| other.path == path) {
        let source_name = other.source.name().to_owned();
        findings.add(place, path_field, ConfigDefect::DuplicateFile { path, source_name });
        return None;
    }
    Some(StateFile { source: SourceId::named(name?, preference?), path })
}

fn required(
    text: Option<Located<String>>,
    whole: Place,
    field: &str,
    allowed: &'static str,
    findings: &mut Findings<ConfigDefect>,
) -> Option<Located<String>> {
    if text.is_none() {
        findings.add(whole, field, Structure::Missing { allowed });
    }
    text
}

fn check_name(
    Located { value: name, place }: Located<String>,
    field: &str,
    before: &[StateFile],
    findings: &mut Findings<ConfigDefect>,
) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if !begins || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
        findings.add(place, field, ConfigDefect::Value { value: name, allowed: NAME });
        return None;
    }
    if before.iter().any(|other| other.source.name() == name) {
        findings.add(place, field, ConfigDefect::DuplicateSource(name));
        return None;
    }
    Some(name)
}

fn check_preference(
    text: Option<Located<String>>,
    field: &str,
    findings: &mut Findings<ConfigDefect>,
) -> Option<u8> {
    let Some(Located { value, place }) = text else { return Some(SourceId::DEFAULT_PREFERENCE) };
    let preference = value.parse().ok().filter(|preference| *preference < u8::MAX);
    if preference.is_none() {
        findings.add(place, field, ConfigDefect::Value { value, allowed: PREFERENCE });
    }
    preference
}

fn check_file(
    file: Located<String>,
    field: &str,
    folder: &Path,
    findings: &mut Findings<ConfigDefect>,
) -> Option<(PathBuf, Place)> {
    if file.value.is_empty() {
        findings.add(file.place, field, ConfigDefect::Path { value: file.value, allowed: PATH });
        return None;
    }
    Some((folder.join(file.value), file.place))
}
