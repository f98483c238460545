use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Cell, Paragraph, Row, Table},
};

use super::{
    hops::Hop,
    model::Model,
    rates::{Rate, with_prefix},
};
use crate::cli::{
    output::{NOTHING, or_nothing},
    status,
};

/// Least height of the list of next hops, its frame and header included.
const LEAST_HOPS: u16 = 6;

const WRONG: Style = Style::new().fg(Color::Red);
const HEADER: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let (drops, passes): (Vec<&Rate>, Vec<&Rate>) = model.rates.iter().partition(|rate| rate.dropped);
    let height = |rows: &[&Rate]| u16::try_from(rows.len().max(1)).unwrap_or(u16::MAX).saturating_add(3);
    let [head, traffic, dropped, hops, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Max(height(&passes)),
        Constraint::Max(height(&drops)),
        Constraint::Min(LEAST_HOPS),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(summary(model), head);
    frame.render_widget(rate_table(" Packets that went on ", &passes), traffic);
    frame.render_widget(rate_table(" Dropped packets ", &drops), dropped);
    frame.render_widget(hop_table(model, hops), hops);
    frame.render_widget(footer(model), foot);
}

fn summary(model: &Model) -> Paragraph<'static> {
    let Some(told) = &model.status else { return Paragraph::new("") };
    let up = status::seconds(told.uptime_seconds);
    let agent = format!("Node {}, agent {} of process {}, up {up}", told.node, told.version, told.pid);
    let held = told.brake.held.as_ref().map_or(String::new(), |held| format!(", {} held", held.routes));
    let is_well = told.synced && told.problems.is_empty() && told.reconcile.pending_total == 0;
    let style = if is_well { Style::new().fg(Color::Green) } else { WRONG };
    // What is said there to be below is below in another command.
    let state = status::state(told).replace("(below)", "(`node-agent status`)");
    Paragraph::new(Text::from(vec![
        Line::styled(agent, HEADER),
        Line::from(vec![Span::raw("State  "), Span::styled(state, style)]),
        Line::raw(format!("Routes {}{held}", status::routes(told.routes))),
    ]))
}

fn rate_table<'m>(title: &'m str, rates: &[&'m Rate]) -> Table<'m> {
    let header = ["HOOK", "OUTCOME"].map(Cell::from).into_iter();
    let header = header.chain(["PACKETS/s", "BYTES/s", "PACKETS"].map(right)).chain(["MEANING".into()]);
    let rows: Vec<Row<'_>> = if rates.is_empty() {
        vec![Row::new([Cell::from(NOTHING)])]
    } else {
        rates.iter().map(|rate| rate_row(rate)).collect()
    };
    let widths = [
        Constraint::Length(11),
        Constraint::Length(26),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Fill(1),
    ];
    Table::new(rows, widths).header(Row::new(header).style(HEADER)).block(Block::bordered().title(title))
}

fn rate_row(rate: &Rate) -> Row<'_> {
    let shown = |value: Option<f64>| right(value.map_or_else(|| NOTHING.to_owned(), with_prefix));
    let is_dropping = rate.dropped && rate.per_second.is_some_and(|rate| rate.packets > 0.0);
    Row::new([
        Cell::from(rate.hook.as_str()),
        Cell::from(rate.outcome.as_str()),
        shown(rate.per_second.map(|rate| rate.packets)),
        shown(rate.per_second.map(|rate| rate.bytes)),
        right(rate.packets.to_string()),
        Cell::from(rate.meaning.as_str()),
    ])
    .style(if is_dropping { WRONG } else { Style::new() })
}

fn hop_table(model: &Model, area: Rect) -> Table<'_> {
    // The frame and the header.
    let room = usize::from(area.height.saturating_sub(3));
    let last = model.scroll.saturating_add(room).min(model.hops.len());
    let first = if model.hops.is_empty() { 0 } else { model.scroll + 1 };
    let title = format!(" Next hops {first} to {last} of {} ", model.hops.len());
    let header = ["NEXT HOP", "KIND", "BY"].map(Cell::from).into_iter();
    let header = header.chain([right("ROUTES"), "STATE".into()]);
    let rows = model.hops.iter().skip(model.scroll).take(room).map(hop_row);
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(10),
        Constraint::Fill(3),
        Constraint::Length(8),
        Constraint::Fill(3),
    ];
    Table::new(rows, widths).header(Row::new(header).style(HEADER)).block(Block::bordered().title(title))
}

fn hop_row(hop: &Hop) -> Row<'_> {
    let (state, style) = match &hop.reason {
        None => ("used", Style::new()),
        Some(reason) => (reason.as_str(), WRONG),
    };
    Row::new([
        Cell::from(hop.next_hop.as_str()),
        Cell::from(or_nothing(hop.kind)),
        Cell::from(hop.way.as_str()),
        right(hop.used.to_string()),
        Cell::from(state),
    ])
    .style(style)
}

fn footer(model: &Model) -> Line<'_> {
    match &model.problem {
        Some(problem) => Line::styled(format!("No answer: {problem}"), WRONG),
        None => Line::raw("q quit   ↑ ↓ PgUp PgDn scroll the next hops   anew each second"),
    }
}

fn right<'t>(text: impl Into<Text<'t>>) -> Cell<'t> {
    Cell::from(text.into().alignment(Alignment::Right))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use node_ebpf_common::{Counter, Hook, Outcome};
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::{
        api::{CounterRow, RouteKind, RouteRow},
        cli::top::{asker::Answer, hops::tests::route},
    };

    fn reading(direct: u64, dropped: u64) -> Vec<CounterRow> {
        CounterRow::all(|hook, outcome| match (hook, outcome) {
            (Hook::FromPod, Outcome::Direct) => Counter { packets: direct, bytes: direct * 100 },
            (Hook::FromUplink, Outcome::DropUnassigned) => Counter { packets: dropped, bytes: dropped * 60 },
            _ => Counter::default(),
        })
    }

    fn answer(at: Instant, counters: Vec<CounterRow>, routes: Option<Vec<RouteRow>>) -> Answer {
        Answer { at, status: status::tests::status(), counters, routes }
    }

    /// An agent that has been asked twice, a second apart.
    fn model(more: usize) -> Model {
        let mut routes = vec![
            route("10.244.1.10/32", "pod default/web", RouteKind::Local),
            route("10.244.2.0/24", "node a2", RouteKind::Direct),
            route("10.244.3.0/24", "node b1", RouteKind::Ipip),
            RouteRow {
                kind: None,
                state: "no route to 10.9.9.9".to_owned(),
                ..route("10.244.9.0/24", "node c1", RouteKind::Direct)
            },
        ];
        let others =
            (0..more).map(|number| route("10.0.0.0/24", &format!("node n{number:03}"), RouteKind::Direct));
        routes.extend(others);
        let (mut model, start) = (Model::default(), Instant::now());
        model.take(answer(start, reading(100, 0), Some(routes)));
        model.take(answer(start + Duration::from_secs(1), reading(12_445, 3), None));
        model
    }

    fn drawn(model: &Model, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells = buffer.content.chunks(usize::from(width));
        cells
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    /// The words of a line, without its frame.
    fn words(line: &str) -> Vec<&str> {
        line.split('│').flat_map(str::split_whitespace).collect()
    }

    fn line<'l>(lines: &'l [String], part: &str) -> &'l str {
        let found = lines.iter().find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part:?} is not in\n{}", lines.join("\n")))
    }

    #[test]
    fn everything_is_drawn_where_it_belongs() {
        let lines = drawn(&model(0), 132, 22);
        assert_eq!(
            lines[..3],
            [
                "Node a1, agent 0.1.0 of process 42, up 3m 2s",
                "State  in step",
                "Routes 2 local, 1 direct, 1 ipip, 2 host, 1 unassigned",
            ]
        );
        assert!(lines[3].starts_with("┌ Packets that went on ─"), "{lines:#?}");
        let direct = words(line(&lines, "│from-pod"));
        assert_eq!(direct[1..5], ["direct", "12k", "1.2M", "12445"]);
        assert!(lines[7].starts_with("┌ Dropped packets ─"), "{lines:#?}");
        let dropped = words(line(&lines, "│from-uplink"));
        assert_eq!(dropped[1..6], ["drop-unassigned", "3.0", "180", "3", "in"]);
        assert!(lines[11].starts_with("┌ Next hops 1 to 4 of 4 ─"), "{lines:#?}");
        // What is wrong comes first.
        assert!(lines[13].contains("node c1") && lines[13].contains("no route to 10.9.9.9"), "{lines:#?}");
        assert!(line(&lines, "node b1").contains("ipip       eth0 via 10.0.1.1, tunnel to 10.0.2.11"));
        assert!(line(&lines, "pod default/web").contains("local"));
        assert!(lines[21].starts_with("q quit"), "{lines:#?}");
    }

    #[test]
    fn before_the_second_answer_there_are_no_rates() {
        let mut model = Model::default();
        model.take(answer(Instant::now(), reading(100, 0), Some(Vec::new())));
        let lines = drawn(&model, 132, 22);
        assert_eq!(words(line(&lines, "│from-pod"))[1..5], ["direct", "-", "-", "100"]);
        line(&lines, "┌ Next hops 0 to 0 of 0 ─");
    }

    #[test]
    fn next_hops_are_scrolled_and_not_past_their_end() {
        let mut model = model(100);
        line(&drawn(&model, 100, 24), "Next hops 1 to 9 of 104");
        model.scroll_by(10);
        let lines = drawn(&model, 100, 24);
        line(&lines, "Next hops 11 to 19 of 104");
        assert!(!lines.iter().any(|line| line.contains("node c1")), "{lines:#?}");
        model.scroll_by(isize::MAX);
        line(&drawn(&model, 100, 24), "Next hops 104 to 104 of 104");
        model.scroll_by(isize::MIN);
        line(&drawn(&model, 100, 24), "Next hops 1 to 9 of 104");
    }

    #[test]
    fn an_agent_that_does_not_answer_and_what_is_wrong_are_told() {
        let mut model = model(0);
        model.problem = Some("no agent at /run/podroute/agent.sock".to_owned());
        if let Some(status) = &mut model.status {
            status.problems.push("eth0 is down".to_owned());
        }
        let lines = drawn(&model, 110, 22);
        assert_eq!(lines[21], "No answer: no agent at /run/podroute/agent.sock");
        line(&lines, "0 sources failed, 0 changes pending, 1 problems (`node-agent status`)");
    }

    #[test]
    fn a_terminal_of_any_size_is_drawn_on() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            assert_eq!(drawn(&model(5), width, height).len(), usize::from(height));
        }
    }
}
