use std::{
    fmt::Display,
    io::{self, Write as _},
};

use comfy_table::{CellAlignment, Table, presets};

/// What stands where there is nothing.
pub(super) const NOTHING: &str = "-";

/// Writes to standard output. That nobody reads any more (`| head`) is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    print_while_read(text).map(drop)
}

/// As [`print`], and tells whether anybody reads.
pub(super) fn print_while_read(text: &str) -> io::Result<bool> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// A table without lines: headers, then rows, two blanks between columns. Columns whose header starts
/// with `>` are aligned to the right.
pub(super) fn table<const N: usize>(
    headers: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headers.map(|header| header.trim_start_matches('>')));
    table.add_rows(rows);
    for (column, header) in table.column_iter_mut().zip(headers) {
        column.set_padding((0, 2));
        if header.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    lines(&table)
}

/// Pairs of a name and what it is, one a line.
pub(super) fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(pairs.map(|(name, value)| [name.to_owned(), value]));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    lines(&table)
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The value, or [`NOTHING`].
pub(super) fn or_nothing(value: Option<impl Display>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// The values with commas between them, or [`NOTHING`].
pub(super) fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { NOTHING.to_owned() } else { values.join(", ") }
}
