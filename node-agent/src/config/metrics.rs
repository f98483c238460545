use std::net::SocketAddr;

use super::{ConfigDefect, raw::RawMetrics};
use crate::yaml::{Findings, Located, Structure};

/// Where metrics and health are served. The outer option is none if that cannot be told, the inner one if nowhere.
pub(super) fn check_metrics(
    raw: Option<Located<RawMetrics>>,
    findings: &mut Findings<ConfigDefect>,
) -> Option<Option<SocketAddr>> {
    const FIELD: &str = "metrics.listen";
    const ALLOWED: &str =
        "ADDRESS:PORT with a port from 1 to 65535, for example 127.0.0.1:9470 or [::1]:9470";
    let Some(Located { value: raw, place }) = raw else { return Some(None) };
    let Some(listen) = raw.listen else {
        findings.add(place, FIELD, Structure::Missing { allowed: ALLOWED });
        return None;
    };
    let address = listen.value.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    if address.is_none() {
        let defect = ConfigDefect::Value { value: listen.value, allowed: ALLOWED };
        findings.add(listen.place, FIELD, defect);
        return None;
    }
    Some(address)
}
