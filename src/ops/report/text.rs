//! The table for the terminal: plain text of at most 120 columns, no colour.

use comfy_table::{Cell as TableCell, CellAlignment, ContentArrangement, Table as Drawn, TableComponent, presets};

use super::table::Table;

/// Columns of text.
const WIDTH: u16 = 120;
/// The most columns of scores that stand side by side there.
const MOST: usize = 7;
/// The most columns of a block, where there are more: names such as `gpqa-diamond-fr` stay whole beside those of models.
const BLOCK: usize = 5;

/// Returns the table, and below it what the marks mean. Columns that do not stand side by side stand one block below the other, with
/// every model in each: words that are cut up letter by letter help nobody.
pub(super) fn render(title: &str, table: &Table) -> String {
    let shown = shown(table);
    let blocks = if shown.len() <= MOST { 1 } else { shown.len().div_ceil(BLOCK) };
    let mut lines = vec![plain(title)];
    for block in 0..blocks {
        lines.push(String::new());
        let (from, to) = (shown.len() * block / blocks, shown.len() * (block + 1) / blocks);
        lines.extend(draw(table, &shown[from..to]).lines().map(|line| line.trim_end().to_owned()));
    }
    if table.rows.iter().flat_map(|row| row.scores.iter().flatten()).any(|cell| cell.best) {
        lines.push("* best of the column; ± is one standard error".to_owned());
    }
    if shown.len() < table.tasks.len() {
        let more = table.tasks.len() - shown.len();
        lines.push(format!("{more} more metrics of the same tasks: report.html, report.json"));
    }
    lines.join("\n") + "\n"
}

/// Draws some of the columns.
fn draw(table: &Table, shown: &[usize]) -> Drawn {
    let mut drawn = Drawn::new();
    drawn.load_preset(presets::NOTHING).force_no_tty();
    drawn.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
    drawn.set_style(TableComponent::TopBorder, '─').set_style(TableComponent::TopBorderIntersections, '─');
    drawn.set_style(TableComponent::BottomBorder, '─').set_style(TableComponent::BottomBorderIntersections, '─');
    drawn.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    let heads = shown.iter().map(|place| &table.tasks[*place]).map(|task| {
        let text = format!("{}\n{}\n{}", plain(&task.title), plain(&task.unit), task.direction());
        TableCell::new(text).set_alignment(CellAlignment::Right)
    });
    drawn.set_header(std::iter::once(TableCell::new("model")).chain(heads));
    for row in &table.rows {
        let cells = shown.iter().map(|place| (&row.scores[*place], &table.tasks[*place])).map(|(cell, task)| {
            let text = cell.as_ref().map_or_else(
                || "–".to_owned(),
                |cell| format!("{}{}", task.value_and_error(cell), if cell.best { " *" } else { "  " }),
            );
            TableCell::new(text).set_alignment(CellAlignment::Right)
        });
        drawn.add_row(std::iter::once(TableCell::new(plain(&row.title()))).chain(cells));
    }
    drawn
}

/// Returns which columns are drawn: all if there is room, otherwise the first of each task.
fn shown(table: &Table) -> Vec<usize> {
    let first = |place: &usize| !table.tasks[..*place].iter().any(|task| task.name == table.tasks[*place].name);
    (0..table.tasks.len()).filter(|place| table.tasks.len() <= MOST || first(place)).collect()
}

/// Returns foreign text without what would move the cursor or change colours.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
