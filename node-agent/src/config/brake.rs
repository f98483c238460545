use std::{ops::RangeInclusive, time::Duration};

use humantime_serde::re::humantime;

use super::{ConfigDefect, raw::RawBrake};
use crate::{
    model::BrakeSettings,
    yaml::{Findings, Located},
};

/// The brake's limits: what is left out has its default.
pub(super) fn check_brake(
    raw: Option<Located<RawBrake>>,
    findings: &mut Findings<ConfigDefect>,
) -> Option<BrakeSettings> {
    const SHARE: &str = "a share in per cent from 1 to 100, where 100 turns the brake off";
    const AT_LEAST: &str = "a number of routes from 1 to 1000000";
    const RELEASE_AFTER: &str = "1s to 24h, for example 30s, 5m or 1h";
    const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    let default = BrakeSettings::default();
    let Some(Located { value: raw, .. }) = raw else { return Some(default) };
    let share = read(raw.share, default.share, "share", SHARE, findings, |text| {
        text.parse().ok().filter(|share| (1..=100).contains(share))
    });
    let at_least = read(raw.at_least, default.at_least, "at-least", AT_LEAST, findings, |text| {
        text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
    });
    let after = default.release_after;
    let release_after = read(raw.release_after, after, "release-after", RELEASE_AFTER, findings, |text| {
        humantime::parse_duration(text).ok().filter(|time| TIMES.contains(time))
    });
    Some(BrakeSettings { share: share?, at_least: at_least?, release_after: release_after? })
}

fn read<T>(
    text: Option<Located<String>>,
    default: T,
    field: &str,
    allowed: &'static str,
    findings: &mut Findings<ConfigDefect>,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let Some(text) = text else { return Some(default) };
    let value = parse(&text.value);
    if value.is_none() {
        let defect = ConfigDefect::Value { value: text.value, allowed };
        findings.add(text.place, format!("brake.{field}"), defect);
    }
    value
}
