use super::{output::table, query::Query};
use crate::api::{CounterRow, Request, Response};

/// Arguments of `node-agent counters`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show counters that are zero as well (JSON always has all)
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    query: Query,
}

/// Shows what became of packets.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Counters(rows) = response { Some(rows) } else { None };
    args.query.show(&Request::Counters, take, |rows| show(rows, args.all)).await
}

fn show(rows: &[CounterRow], all: bool) -> String {
    let shown: Vec<_> = rows.iter().filter(|row| all || row.packets > 0).collect();
    if shown.is_empty() {
        return "no packet has been counted yet (--all shows every counter)\n".to_owned();
    }
    let cells = |row: &CounterRow| {
        [
            row.hook.clone(),
            row.outcome.clone(),
            row.ending.clone(),
            row.packets.to_string(),
            row.bytes.to_string(),
            row.meaning.clone(),
        ]
    };
    table(["HOOK", "OUTCOME", "ENDING", ">PACKETS", ">BYTES", "MEANING"], shown.into_iter().map(cells))
}

#[cfg(test)]
mod tests {
    use node_ebpf_common::{Counter, Hook, Outcome};

    use super::*;

    #[test]
    fn zeros_are_shown_on_demand() {
        let rows = CounterRow::all(|hook, outcome| match (hook, outcome) {
            (Hook::FromPod, Outcome::Direct) => Counter { packets: 12, bytes: 1176 },
            _ => Counter::default(),
        });
        assert_eq!(
            show(&rows, false),
            "HOOK      OUTCOME  ENDING     PACKETS  BYTES  MEANING\n\
             from-pod  direct   forwarded       12   1176  sent to the next hop without encapsulation\n"
        );
        assert_eq!(show(&rows, true).lines().count(), 1 + rows.len());
        assert_eq!(show(&rows[..1], false), "no packet has been counted yet (--all shows every counter)\n");
    }
}
