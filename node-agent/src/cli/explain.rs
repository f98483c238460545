use super::{exit::Exit, query::Query};
use crate::api::{Explained, Explanation, Request, Response, Step, Subject};

/// Columns of a terminal that a line should fit into.
const WIDTH: usize = 96;

/// Arguments of `node-agent explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 healthy; 1 planes disagree, or it cannot be reached; 2 it could not be told."
)]
pub(super) struct Args {
    /// An IP address, a pod (NAMESPACE/NAME) or a prefix (ADDRESS/LENGTH)
    #[arg(value_name = "IP|POD|PREFIX")]
    subject: Subject,
    #[command(flatten)]
    query: Query,
}

/// Explains the whole way of an address, pod or prefix.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let take = |response| if let Response::Explanation(told) = response { Some(told) } else { None };
    let request = Request::Explain { subject: args.subject };
    let told = args.query.tell(&request, take, |told| show(told)).await.map_err(Exit::Unknown)?;
    if told.healthy { Ok(()) } else { Err(Exit::NotHealthy.into()) }
}

fn show(told: &Explanation) -> String {
    let mut text = format!("{}, as node {} sees it\n", told.subject, told.node);
    for one in &told.targets {
        text += &show_target(one);
    }
    let found: Vec<_> = told.targets.iter().flat_map(Explained::disagreements).collect();
    text += "\n";
    match found.len() {
        0 => text += "✓ healthy: all planes agree\n",
        count => {
            text += &format!("✗ not healthy: {count} disagreement{}\n", if count == 1 { "" } else { "s" });
            for one in found {
                text += &wrapped("  ✗ ", &format!("{}: {}", one.kind.label(), one.text));
                text += &wrapped("    → ", &one.remedy);
            }
        }
    }
    text
}

fn show_target(one: &Explained) -> String {
    let name = if one.target.is_host() { one.target.address().to_string() } else { one.target.to_string() };
    let mut text = format!("\n{}", wrapped("", &format!("{name}: {}", one.summary)));
    for step in &one.steps {
        text += &show_step(step);
    }
    text
}

fn show_step(step: &Step) -> String {
    let mark = if step.disagreements.is_empty() { '✓' } else { '✗' };
    let mut text = format!("\n{mark} {}\n", step.step.heading());
    let widest = step.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    for row in &step.rows {
        text += &wrapped(&format!("  {:widest$}  ", row.name), &row.value);
    }
    for one in &step.disagreements {
        text += &wrapped("  ✗ ", &one.text);
    }
    text
}

/// A text behind its beginning, over as many lines as it needs, each of them as far to the right.
pub(super) fn wrapped(beginning: &str, text: &str) -> String {
    let indent = beginning.chars().count();
    let mut lines = beginning.to_owned();
    let mut column = indent;
    for (number, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if number > 0 && column + 1 + length > WIDTH {
            lines += &format!("\n{:indent$}", "");
            column = indent;
        } else if number > 0 {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += length;
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Disagreement, DisagreementKind, Row, StepKind};

    fn explanation(disagreements: Vec<Disagreement>) -> Explanation {
        let row = |name: &str, value: &str| Row { name: name.to_owned(), value: value.to_owned() };
        let step = |step, rows, disagreements| Step { step, rows, disagreements };
        Explanation {
            subject: "default/b1-0".parse().unwrap(),
            node: "a1".to_owned(),
            healthy: disagreements.is_empty(),
            targets: vec![Explained {
                target: "10.244.3.10/32".parse().unwrap(),
                summary: "sent to node b1 through eth0, in an IPIP packet".to_owned(),
                steps: vec![
                    step(
                        StepKind::Source,
                        vec![row("source", "file c.yaml, synced"), row("at", "c.yaml:9")],
                        vec![],
                    ),
                    step(StepKind::Neighbour, vec![row("neighbour", "10.0.1.1 on eth0")], disagreements),
                ],
            }],
        }
    }

    #[test]
    fn each_step_is_a_section_and_the_end_sums_up() {
        assert_eq!(
            show(&explanation(vec![])),
            "pod default/b1-0, as node a1 sees it\n\
             \n\
             10.244.3.10: sent to node b1 through eth0, in an IPIP packet\n\
             \n\
             ✓ Source\n  source  file c.yaml, synced\n  at      c.yaml:9\n\
             \n\
             ✓ Neighbour\n  neighbour  10.0.1.1 on eth0\n\
             \n\
             ✓ healthy: all planes agree\n"
        );
        let failed = Disagreement {
            kind: DisagreementKind::NeighbourFailed,
            text: "10.0.1.1 on eth0 does not answer".to_owned(),
            remedy: "see that it runs".to_owned(),
        };
        let text = show(&explanation(vec![failed]));
        assert!(
            text.contains("✗ Neighbour\n  neighbour  10.0.1.1 on eth0\n  ✗ 10.0.1.1 on eth0 does"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "✗ not healthy: 1 disagreement\n  ✗ neighbour-failed: 10.0.1.1 on eth0 does not answer\n    → see that it runs\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn long_texts_are_wrapped_behind_their_beginning() {
        let text = wrapped("  name  ", &"word ".repeat(40));
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("        word")), "{text}");
    }
}
