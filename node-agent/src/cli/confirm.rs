use super::{output::list, query::Query};
use crate::{
    api::{HeldRoutes, Request, Response},
    model::Prefix,
};

/// Arguments of `node-agent confirm`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    query: Query,
}

/// Lets the brake withdraw what it holds at this moment, and tells what that is.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Confirmed { prefixes } = response { Some(prefixes) } else { None };
    args.query.show(&Request::Confirm, take, |prefixes| show(prefixes)).await
}

fn show(prefixes: &[Prefix]) -> String {
    let first = list(prefixes.iter().take(HeldRoutes::LISTED));
    let more = match prefixes.len().saturating_sub(HeldRoutes::LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} routes that were held are withdrawn: {first}{more}\n", prefixes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_prefixes_are_named_and_the_others_counted() {
        let prefixes: Vec<Prefix> = (0..12).map(|n| format!("10.244.{n}.0/24").parse().unwrap()).collect();
        assert_eq!(
            show(&prefixes[..2]),
            "2 routes that were held are withdrawn: 10.244.0.0/24, 10.244.1.0/24\n"
        );
        assert!(show(&prefixes).ends_with("10.244.9.0/24 and 2 more\n"));
    }
}
