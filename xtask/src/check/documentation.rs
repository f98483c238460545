//! The documents name tests; those tests must exist.

use std::collections::BTreeSet;

/// Names in backquotes that look like a test's (four words at least, `*` for a family of them) and are no function in
/// the sources.
pub fn missing(document: &str, sources: &[String]) -> BTreeSet<String> {
    let functions: BTreeSet<&str> = sources.iter().flat_map(|text| functions(text)).collect();
    let exists = |name: &str| match name.split_once('*') {
        Some((start, end)) => functions.iter().any(|known| known.starts_with(start) && known.ends_with(end)),
        None => functions.contains(name),
    };
    named(document).filter(|name| !exists(name)).map(str::to_owned).collect()
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        Some(&rest[..end])
    })
}

fn named(document: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '*';
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(move |name| name.chars().all(word) && name.matches('_').count() >= 3)
        // The kernel's helpers look alike.
        .filter(|name| !name.starts_with("bpf_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_test_is_found() {
        let sources =
            ["fn it_does_what_it_says() {}".to_owned(), "    fn it_does_more_too_v6<F>() {}".to_owned()];
        let document = "`it_does_what_it_says`, `it_does_more_*`, `ip_forward`, `it_does_not_exist`, `bpf_skb_change_proto`";
        assert_eq!(missing(document, &sources), BTreeSet::from(["it_does_not_exist".to_owned()]));
    }
}
