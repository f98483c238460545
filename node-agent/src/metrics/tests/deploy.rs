//! The dashboard and the alert rules ask for metrics, labels and values that there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;

use super::{FAMILIES, snapshot};
use crate::yaml;

const DASHBOARD: &str = include_str!("../../../../deploy/grafana/podroute.json");
const RULES: &str = include_str!("../../../../deploy/prometheus/podroute-rules.yaml");

/// Labels that Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    _held_for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let rules = yaml::parse::<Rules, yaml::Structure>(RULES, "podroute-rules.yaml");
    let rules = rules.unwrap_or_else(|findings| panic!("{findings}"));
    let [group] = <[Group; 1]>::try_from(rules.groups).ok().expect("one group");
    assert_eq!(group.name, "podroute");
    group.rules
}

/// Every text in a JSON document that stands under this name.
fn texts<'j>(json: &'j Json, name: &str, found: &mut Vec<&'j str>) {
    match json {
        Json::Object(fields) => {
            for (field, value) in fields {
                found.extend(value.as_str().filter(|_| field == name));
                texts(value, name, found);
            }
        }
        Json::Array(values) => values.iter().for_each(|value| texts(value, name, found)),
        _ => {}
    }
}

/// Names, each with what stands behind it: of metrics, functions, labels and keywords.
fn words(expression: &str) -> Vec<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_part) {
        let from = &rest[start..];
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        words.push((&from[..end], &from[end..]));
        rest = &from[end..];
    }
    words
}

/// The matchers behind a metric's name: label, operator, value.
fn matchers(behind: &str) -> Vec<(&str, &str, &str)> {
    let Some(inside) = behind.strip_prefix('{').and_then(|rest| rest.split('}').next()) else {
        return Vec::new();
    };
    let matchers = inside.split(',').map(str::trim).filter(|text| !text.is_empty());
    let parts = |text| {
        let (label, value) = str::split_once(text, '"').expect("a value");
        let operator = label.find(['=', '!']).expect("an operator");
        (label[..operator].trim(), label[operator..].trim(), value.trim_end_matches('"'))
    };
    matchers.map(parts).collect()
}

/// What is wrong with an expression.
fn wrong(expression: &str) -> Vec<String> {
    let snapshot = snapshot();
    let mut wrong = Vec::new();
    let mut asked = BTreeSet::new();
    for (word, behind) in words(expression).into_iter().filter(|(word, _)| word.starts_with("podroute_")) {
        let Some(family) = FAMILIES.iter().find(|family| family.series().iter().any(|series| series == word))
        else {
            wrong.push(format!("there is no {word}"));
            continue;
        };
        asked.insert(family.full_name());
        for (label, operator, value) in matchers(behind) {
            let Some(at) = family.labels.iter().position(|known| *known == label) else {
                if !ADDED.contains(&label) {
                    wrong.push(format!("{word} has no label {label}"));
                }
                continue;
            };
            let has_it = (family.samples)(&snapshot).iter().any(|sample| sample.labels[at] == value);
            if matches!(operator, "=" | "!=") && !has_it {
                wrong.push(format!("{word} has no {label}=\"{value}\""));
            }
        }
    }
    if wrong.is_empty() && asked.is_empty() && !expression.starts_with("up{") {
        wrong.push("it asks for nothing of ours".to_owned());
    }
    // What series are put together by.
    let grouped = expression.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
    for label in grouped.flat_map(|labels| labels.split(',')).map(str::trim) {
        let known = FAMILIES
            .iter()
            .filter(|family| asked.contains(&family.full_name()))
            .any(|family| family.labels.contains(&label) || label == "le" && family.series().len() == 3);
        if !known && !ADDED.contains(&label) {
            wrong.push(format!("nothing in it has a label {label}"));
        }
    }
    wrong
}

#[test]
fn what_there_is_not_is_found() {
    let good = [
        "sum by (instance, outcome) (rate(podroute_datapath_packets_total{ending=\"dropped\"}[5m])) > 10",
        "histogram_quantile(0.99, sum by (le) (rate(podroute_apply_latency_seconds_bucket[15m])))",
        "podroute_routes{instance=~\"$instance\", state!=\"used\"}",
    ];
    for expression in good {
        assert_eq!(wrong(expression), Vec::<String>::new(), "{expression}");
    }
    let bad = [
        ("rate(podroute_datapath_packets[5m])", "there is no podroute_datapath_packets"),
        ("rate(podroute_apply_latency_seconds[5m])", "there is no podroute_apply_latency_seconds"),
        ("podroute_routes{kind=\"used\"}", "podroute_routes has no label kind"),
        ("podroute_routes{state=\"useless\"}", "podroute_routes has no state=\"useless\""),
        ("sum by (kind) (podroute_routes)", "nothing in it has a label kind"),
        ("sum by (le) (podroute_routes)", "nothing in it has a label le"),
        ("vector(1)", "it asks for nothing of ours"),
    ];
    for (expression, why) in bad {
        assert_eq!(wrong(expression), [why], "{expression}");
    }
}

#[test]
fn the_alert_rules_ask_for_what_there_is() {
    let mut names = BTreeSet::new();
    for rule in rules() {
        assert_eq!(wrong(&rule.expr), Vec::<String>::new(), "{}: {}", rule.alert, rule.expr);
        assert!(rule.annotations.contains_key("summary") && rule.annotations.contains_key("description"));
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{}: {severity:?}", rule.alert);
        // What is said about a label that the expression has lost would be empty.
        for text in rule.annotations.values() {
            for label in
                text.split("$labels.").skip(1).filter_map(|rest| words(rest).first().map(|word| word.0))
            {
                let aggregated = rule.expr.split(" by (").nth(1).and_then(|rest| rest.split(')').next());
                let of_metric = words(&rule.expr).iter().any(|(word, _)| {
                    let family = FAMILIES.iter().find(|family| family.series().contains(&(*word).to_owned()));
                    family.is_some_and(|family| family.labels.contains(&label))
                });
                let has_it =
                    aggregated.map_or(of_metric || ADDED.contains(&label), |labels| labels.contains(label));
                assert!(has_it, "{} tells of {label}", rule.alert);
            }
        }
        assert!(names.insert(rule.alert.clone()), "{} stands twice", rule.alert);
    }
    assert!(names.len() > 10, "{names:?}");
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard: Json = serde_json::from_str(DASHBOARD).unwrap();
    let (mut expressions, mut queries) = (Vec::new(), Vec::new());
    texts(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 30, "{expressions:#?}");
    for expression in &expressions {
        assert_eq!(wrong(expression), Vec::<String>::new(), "{expression}");
    }
    texts(&dashboard["templating"], "query", &mut queries);
    let asked = |query: &&&str| query.contains("podroute_");
    assert!(queries.iter().filter(asked).all(|query| wrong(query).is_empty()), "{queries:?}");
    assert!(queries.iter().any(|query| query.contains("podroute_")), "{queries:?}");
    // A panel's number is its name in links.
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}
