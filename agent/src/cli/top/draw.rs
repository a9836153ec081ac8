//! The screen: what it is about, the table, what keys do. It works from 80 by 24 up; narrower, columns are left out from the
//! right.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap},
};

use super::{
    state::{KEPT, State},
    view::{Room, Row, View},
};

/// Of a number with its space.
const NUMBER: u16 = 7;

/// Of a trend, where there is room for it.
const TREND: u16 = 20;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const KEYS: &str = "1-4 view  ↑↓ row  ⏎ inside  ←→ sort  r turn  / filter  p pause  ? help  q quit";

const HELP: &str = "\
What pods of this node ask and are asked, from the agent's view.

1 to 4, Tab    workloads, routes, flows between two, connections
↑ ↓ PgUp PgDn  choose a row
Enter          the flows of the workload under the cursor, and from
               there its open connections
Esc            back; first it clears the filter
← → s          sort by another column: ▼ is there, the most first
r              the other way round: ▲
/              show rows with this text; Enter keeps it, Esc clears it
p, space       pause
q, Ctrl-C      end

Rates (/S, BYTES a second) and percentages are of the last 10 s; P50 and
P99 are milliseconds and at most an eighth too long. FAIL% counts flags,
statuses from 500 on, and failures of gRPC. /S counts a connection at its
end; OPEN are those that are open now, and BYTES has what they move.";

pub(super) fn draw(frame: &mut Frame<'_>, state: &State, place: &str) {
    let lost =
        state.trouble.as_ref().map(|why| format!("nothing comes from the agent, asked again each second: {why}"));
    let room = lost.as_ref().map_or(0, |text| columns(text.chars().count()).div_ceil(frame.area().width.max(1)).min(3));
    let [head, table, trouble, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(3), Constraint::Length(room), Constraint::Length(1)])
            .areas(frame.area());
    let rows = state.rows();
    frame.render_widget(Paragraph::new(heading(state, place, rows.len())), head);
    draw_table(frame, state, &rows, table);
    let lost = Paragraph::new(lost.unwrap_or_default()).wrap(Wrap { trim: true });
    frame.render_widget(lost.style(Style::new().fg(Color::Red)), trouble);
    frame.render_widget(Line::styled(KEYS, Style::new().fg(Color::DarkGray)), foot);
    if state.shows_help {
        help(frame);
    }
}

fn heading<'a>(state: &'a State, place: &'a str, rows: usize) -> Vec<Line<'a>> {
    let mut views: Vec<Span<'_>> = vec![Span::styled("heddle top  ", Style::new().add_modifier(Modifier::BOLD))];
    for (number, view) in View::ALL.into_iter().enumerate() {
        let style = if view == state.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        views.push(Span::styled(format!(" {} {} ", number + 1, view.title()), style));
    }
    let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    let mut about = vec![Span::raw(format!("{rows}, by {}{}", state.sorted_by(), mark(state)))];
    let mut add = |text: String, color| about.push(Span::styled(format!("  {text}"), Style::new().fg(color)));
    if let Some(inside) = &state.inside {
        add(format!("of {inside}"), Color::Cyan);
    }
    if state.is_typing || !state.filter.is_empty() {
        add(format!("/{}{}", state.filter, if state.is_typing { "_" } else { "" }), Color::Yellow);
    }
    if state.is_paused {
        add("paused".to_owned(), Color::Yellow);
    }
    if state.unseen() > 0 {
        add(format!("{} younger ones are open and not looked at", state.unseen()), Color::Yellow);
    }
    if state.left_out > 0 {
        add(format!("{} left out: too much to be told apart", state.left_out), Color::Yellow);
    }
    about.push(Span::styled(format!("  {place}"), Style::new().fg(Color::DarkGray)));
    vec![Line::from(views), Line::from(about)]
}

fn draw_table(frame: &mut Frame<'_>, state: &State, rows: &[Row], area: Rect) {
    if rows.is_empty() {
        let text = match (state.is_waiting(), state.filter.is_empty()) {
            (true, _) => "Waiting for the first second.",
            (false, true) if state.view == View::Connections => "No connection is open.",
            (false, true) => "Nothing is open, and nothing has ended in the last minute.",
            (false, false) => "No row has this in its names.",
        };
        frame.render_widget(Paragraph::new(text).alignment(Alignment::Center), area);
        return;
    }
    let (names, numbers) = (state.view.names(), state.view.numbers());
    let for_names = names.iter().map(|name| name.room.least() + 1).sum();
    let shown = usize::from(area.width.saturating_sub(for_names) / NUMBER).min(numbers.len());
    let with_trend =
        state.view != View::Connections && shown == numbers.len() && area.width >= 60 + columns(shown) * NUMBER + TREND;
    let titles = names.iter().map(|name| name.title).chain(numbers[..shown].iter().map(|column| column.title));
    let mark = mark(state);
    let mut head: Vec<Cell<'_>> = titles
        .enumerate()
        .map(|(column, title)| {
            let text = if column == state.sort { format!("{title}{mark}") } else { title.to_owned() };
            let side = if column < names.len() { Alignment::Left } else { Alignment::Right };
            Cell::from(Line::from(text).alignment(side))
        })
        .collect();
    let mut widths: Vec<Constraint> = names.iter().map(|name| name.room.constraint()).collect();
    widths.extend(vec![Constraint::Length(NUMBER - 1); shown]);
    if with_trend {
        head.push(Cell::from("LAST MINUTE"));
        widths.push(Constraint::Length(TREND));
    }
    let cells = rows.iter().map(|row| cells(row, state, shown, with_trend));
    let table = Table::new(cells, widths)
        .column_spacing(1)
        .header(TableRow::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let selected = state.selected.min(rows.len() - 1);
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(selected));
}

fn mark(state: &State) -> &'static str {
    if state.ascending { "▲" } else { "▼" }
}

impl Room {
    fn least(self) -> u16 {
        match self {
            Self::Letters(letters) | Self::AtLeast(letters) => letters,
        }
    }

    fn constraint(self) -> Constraint {
        match self {
            Self::Letters(letters) => Constraint::Length(letters),
            // What is over is shared as what is needed is.
            Self::AtLeast(letters) => Constraint::Fill(letters),
        }
    }
}

fn cells(row: &Row, state: &State, shown: usize, with_trend: bool) -> TableRow<'static> {
    let mut cells: Vec<Cell<'static>> = row.names.iter().map(|name| Cell::from(name.clone())).collect();
    for (number, column) in row.numbers.iter().zip(state.view.numbers()).take(shown) {
        let text = number.map_or_else(|| "-".to_owned(), |number| column.unit.text(number));
        cells.push(Cell::from(Line::from(text).alignment(Alignment::Right)));
    }
    if with_trend {
        cells.push(Cell::from(trend(&row.trend)));
    }
    TableRow::new(cells).style(if row.fails { Style::new().fg(Color::Red) } else { Style::new() })
}

/// A minute in as many bars as there is room for, the highest full.
fn trend(counts: &[u64]) -> String {
    let per_bar = KEPT / usize::from(TREND);
    let missing = vec![0; KEPT - counts.len().min(KEPT)];
    let all: Vec<u64> = missing.into_iter().chain(counts.iter().copied()).collect();
    let sums: Vec<u64> = all.chunks(per_bar).map(|part| part.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    let bar = |sum: &u64| match *sum {
        0 => ' ',
        sum => BARS[usize::try_from((sum * 8).div_ceil(most)).unwrap_or(8).clamp(1, 8) - 1],
    };
    sums.iter().map(bar).collect()
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (area.width.min(76), area.height.min(22));
    let middle = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" help, esc closes ")), middle);
}

fn columns(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
