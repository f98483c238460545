use humantime_serde::re::humantime::format_rfc3339_seconds;

use super::{list, seconds};
use crate::api::{BrakeStatus, HeldRoutes};

/// What the brake holds, and how it ends; nothing if it holds nothing.
pub(super) fn held(brake: &BrakeStatus) -> Option<String> {
    let HeldRoutes { routes, in_place, prefixes, since, release_in_seconds } = brake.held.as_ref()?;
    let share = routes.saturating_mul(100) / (*in_place).max(1);
    let more = match routes.saturating_sub(prefixes.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let after = seconds(brake.release_after_seconds);
    let release = match release_in_seconds {
        Some(left) => format!("in {}, if the sources repeat it till then", seconds(*left)),
        None => format!("{after} after the sources can be read again and repeat it"),
    };
    Some(format!(
        "HELD\n\
         {routes} of {in_place} routes ({share} %) have been withdrawn since {since}, and stay (limit: {} %).\n\
         They are {}{more}.\n\
         The first go {release}, or at once by `node-agent confirm`.\n",
        brake.share,
        list(prefixes),
        since = format_rfc3339_seconds(*since),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_is_held_is_told_with_how_it_ends() {
        let mut brake = BrakeStatus { share: 30, at_least: 20, release_after_seconds: 300, held: None };
        assert_eq!(held(&brake), None);
        brake.held = Some(HeldRoutes {
            routes: 12,
            in_place: 30,
            prefixes: vec!["10.244.11.0/24".parse().unwrap(), "10.244.12.0/24".parse().unwrap()],
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(7),
            release_in_seconds: Some(252),
        });
        assert_eq!(
            held(&brake).unwrap(),
            "HELD\n\
             12 of 30 routes (40 %) have been withdrawn since 1970-01-01T00:00:07Z, and stay (limit: 30 %).\n\
             They are 10.244.11.0/24, 10.244.12.0/24 and 10 more.\n\
             The first go in 4m 12s, if the sources repeat it till then, or at once by `node-agent confirm`.\n"
        );
        if let Some(held) = &mut brake.held {
            held.release_in_seconds = None;
        }
        let text = held(&brake).unwrap();
        assert!(text.contains("The first go 5m after the sources can be read again"), "{text}");
    }
}
