use std::time::Duration;

use humantime_serde::re::humantime::format_rfc3339_seconds;

use super::{
    output::print_while_read,
    query::{Output, Query},
};
use crate::{
    api::{AskError, EventList, Request, Response, ask},
    events::{Event, EventKind},
};

/// How often the agent is asked for what is new.
const INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `node-agent events`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on showing what happens, until Ctrl-C; also when the agent is started anew
    #[arg(long, short)]
    follow: bool,
    /// Only events with a higher number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    since: u64,
    /// Only events of this kind; may be given more than once
    #[arg(long, value_name = "KIND")]
    kind: Vec<EventKind>,
    #[command(flatten)]
    query: Query,
}

/// Shows what has happened, one event a line. In JSON it is a list, and with `--follow` one document a line.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let (mut since, mut begun) = (args.since, None);
    loop {
        let mut list = match list(&args.query, since).await {
            Ok(list) => list,
            Err(AskError::NoSocket(_) | AskError::NotRunning(_)) if args.follow => {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if begun.replace(list.begun).is_some_and(|before| before != list.begun) {
            // An agent that was started anew counts from 1 again.
            since = 0;
            continue;
        }
        list.events.retain(|event| args.kind.is_empty() || args.kind.contains(&event.kind));
        let shown = match args.query.output {
            Output::Json if !args.follow => serde_json::to_string_pretty(&list.events)? + "\n",
            output => show(&list.events, output)?,
        };
        if !print_while_read(&shown)? || !args.follow {
            return Ok(());
        }
        since = list.last;
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn list(query: &Query, since: u64) -> Result<EventList, AskError> {
    match ask(&query.socket, &Request::Events { since }).await? {
        Response::Events(list) => Ok(list),
        _ => Err(AskError::Unknown {
            socket: query.socket.clone(),
            reason: "an answer to another question".to_owned(),
        }),
    }
}

fn show(events: &[Event], output: Output) -> serde_json::Result<String> {
    let line = |event: &Event| match output {
        Output::Table => Ok(line(event)),
        Output::Json => Ok(serde_json::to_string(event)? + "\n"),
    };
    events.iter().map(line).collect()
}

/// Number, time, kind and text; what spans several lines goes on under the text.
fn line(event: &Event) -> String {
    let text = event.text.trim_end().replace('\n', "\n    ");
    let times = if event.times > 1 { format!(" ({} times)", event.times) } else { String::new() };
    format!("{:>5}  {}  {:<17}{text}{times}\n", event.number, format_rfc3339_seconds(event.time), event.kind)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn event(number: u64, text: &str, times: u64) -> Event {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        Event { number, kind: EventKind::SourceFailed, object: None, text: text.to_owned(), time, times }
    }

    #[test]
    fn an_event_is_a_line() {
        let shown = show(&[event(7, "source file: no", 1), event(12, "one:\ntwo\n", 3)], Output::Table);
        assert_eq!(
            shown.unwrap(),
            "    7  1970-01-01T00:00:01Z  source-failed    source file: no\n   \
             12  1970-01-01T00:00:01Z  source-failed    one:\n    two (3 times)\n"
        );
    }

    #[test]
    fn for_programs_an_event_is_a_document() {
        assert_eq!(
            show(&[event(7, "no", 2)], Output::Json).unwrap(),
            "{\"number\":7,\"kind\":\"source-failed\",\"object\":null,\"text\":\"no\",\
             \"time\":\"1970-01-01T00:00:01.500000000Z\",\"times\":2}\n"
        );
    }
}
