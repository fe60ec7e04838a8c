//! How wide it may be, and what stands out: tables that fit a terminal, and colour where somebody looks.

use std::io::{IsTerminal as _, stdout};

use comfy_table::TableComponent::{
    HorizontalLines, LeftBorderIntersections, MiddleIntersections, RightBorderIntersections,
};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

/// What every terminal is taken to have.
const COLUMNS_MIN: usize = 60;
/// Sentences stand in a column of their own when it can be as wide as this.
const PROSE_MIN: usize = 30;

/// Who reads it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
    /// Columns of the terminal; none where lines may be as long as they like.
    columns: Option<usize>,
    colour: bool,
    /// It is one on a screen, which can be cleared.
    terminal: bool,
}

impl Page {
    /// Standard output as it is. `COLUMNS` says how wide it is where the terminal does not; `NO_COLOR` means what it says.
    pub(super) fn of_stdout() -> Self {
        let terminal = stdout().is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(stdout()).ok()).flatten();
        let told = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).or_else(told);
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { columns: columns.map(|columns: usize| columns.max(COLUMNS_MIN)), colour: terminal && !plain, terminal }
    }

    /// Something that somebody should see to.
    pub(super) fn alarm(self, text: &str) -> String {
        self.painted(text, "31")
    }

    /// Something that is not as usual.
    pub(super) fn notice(self, text: &str) -> String {
        self.painted(text, "33")
    }

    /// A text in place of the one before: on a cleared screen, or under a line that parts them.
    pub(super) fn anew(self, text: &str) -> String {
        if self.terminal { format!("\x1b[H\x1b[2J{text}") } else { format!("{text}\n{}\n", "─".repeat(COLUMNS_MIN)) }
    }

    fn painted(self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A text in lines that fit, broken between words; further lines are indented.
    pub(super) fn wrapped(self, text: &str, indent: usize) -> String {
        let Some(columns) = self.columns else { return text.to_owned() };
        let words = text.trim_start_matches(' ');
        let mut lines = String::new();
        let mut line = " ".repeat(text.len() - words.len());
        for word in words.split(' ') {
            if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
                lines += line.trim_end();
                lines.push('\n');
                line = format!("{}{word}", " ".repeat(indent));
            } else {
                if !line.trim().is_empty() {
                    line.push(' ');
                }
                line += word;
            }
        }
        lines + line.trim_end()
    }
}

/// Rows under a header.
pub(super) struct Grid {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Columns of numbers, right-aligned.
    numbers: std::ops::Range<usize>,
    /// The last column holds sentences.
    prose: bool,
}

impl Grid {
    pub(super) fn new(header: &[&'static str], numbers: std::ops::Range<usize>) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), numbers, prose: false }
    }

    /// The last column holds sentences.
    pub(super) fn with_prose(self) -> Self {
        Self { prose: true, ..self }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A table if it fits; sentences go below it, and in the end each row stands by itself.
    pub(super) fn show(&self, page: Page) -> String {
        let last = self.header.len().saturating_sub(1);
        let whole = self.width(self.header.len());
        let Some(columns) = page.columns.filter(|&columns| columns < whole) else {
            return self.table(self.header.len(), None);
        };
        if self.prose && self.width(last) + PROSE_MIN + 2 <= columns {
            return self.table(self.header.len(), Some(columns));
        }
        if self.prose && self.width(last) <= columns {
            let mut text = self.table(last, None);
            for row in &self.rows {
                if let (Some(name), Some(prose)) = (row.first(), row.get(last)) {
                    text += &format!("\n{}", page.wrapped(&format!("{name}: {prose}"), 2));
                }
            }
            return text;
        }
        let mut rows = Vec::new();
        for row in &self.rows {
            let mut cells = row.iter().zip(&self.header);
            rows.extend(cells.next().map(|(name, _)| name.clone()));
            let cells: Vec<String> = cells.map(|(cell, name)| format!("{name} {cell}")).collect();
            rows.push(page.wrapped(&format!("  {}", cells.join("; ")), 2));
        }
        rows.join("\n")
    }

    /// How wide the first columns are side by side.
    fn width(&self, columns: usize) -> usize {
        let cells = |column: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(column));
            let header = self.header.get(column).map_or(0, |name| name.chars().count());
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(header)
        };
        (0..columns).map(|column| cells(column) + 3).sum::<usize>().saturating_sub(1)
    }

    fn table(&self, columns: usize, width: Option<usize>) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        // Lines around the table and under the header only.
        for line in [HorizontalLines, MiddleIntersections, LeftBorderIntersections, RightBorderIntersections] {
            table.remove_style(line);
        }
        table.set_header(self.header.iter().take(columns));
        for row in &self.rows {
            let cells = row.iter().take(columns).enumerate();
            table.add_row(cells.map(|(column, text)| {
                let alignment = if self.numbers.contains(&column) { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(text).set_alignment(alignment)
            }));
        }
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            let others = self.width(columns - 1);
            for (number, column) in table.column_iter_mut().enumerate() {
                column.set_constraint(if number + 1 == columns {
                    ColumnConstraint::Absolute(Width::Fixed(u16::try_from(width - others - 1).unwrap_or(u16::MAX)))
                } else {
                    ColumnConstraint::ContentWidth
                });
            }
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(columns: usize) -> Page {
        Page { columns: Some(columns), ..Page::default() }
    }

    fn grid() -> Grid {
        let mut grid = Grid::new(&["dropped because", "from VMs", "to VMs", "meaning"], 1..3).with_prose();
        let sentence = "The MAC belongs to one VM and the IP address to another, or an advertisement to nobody.";
        grid.row(["opaque_header_chain".into(), "1234567".into(), "0".into(), sentence.into()]);
        grid
    }

    #[test]
    fn a_table_fits_every_width_from_60_on_and_breaks_no_word() {
        let long = ["web1, a VM with a long name", "52:54:00:00:00:01, 52:54:00:00:00:02", "2001:db8:5::/64"];
        let mut wide = Grid::new(&["VM", "MACs", "addresses"], 0..0);
        wide.row(long.map(str::to_owned));
        for columns in 60..200 {
            for (grid, words) in [(grid(), "advertisement"), (copy(&wide), "2001:db8:5::/64")] {
                let text = grid.show(page(columns));
                assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{text}");
                assert!(text.lines().all(|line| line == line.trim_end()), "{columns}:\n{text}");
                let cells = grid.rows.iter().flatten().flat_map(|cell| cell.split(' '));
                cells.for_each(|word| assert!(text.contains(word), "{columns}: {word}\n{text}"));
                assert!(text.contains(words));
            }
        }
    }

    fn copy(grid: &Grid) -> Grid {
        Grid { header: grid.header.clone(), rows: grid.rows.clone(), numbers: 0..0, prose: false }
    }

    #[test]
    fn nobody_is_shown_colours_but_who_looks_at_a_terminal() {
        assert_eq!(page(80).alarm("x"), "x");
        assert_eq!(Page { colour: true, ..Page::default() }.alarm("x"), "\x1b[31mx\x1b[0m");
    }
}
