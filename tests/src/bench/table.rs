//! The table that is printed at the end: one line per figure.

use super::format::{number, ratio};
use super::rows::{Row, Target};

const HEADS: [&str; 8] = ["case", "figure", "direct", "mesh/peer", "ratio", "ztunnel", "to reach", ""];
/// Columns of words stand left, those of numbers right.
const LEFT: [bool; 8] = [true, true, false, false, false, false, false, true];

/// Draws it; a case is named in its first line only.
pub(super) fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEADS.map(str::to_owned)];
    let mut last = "";
    for row in rows {
        lines.push(cells(row, row.case != last));
        last = row.case;
    }
    let widths = [0, 1, 2, 3, 4, 5, 6, 7].map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    let mut text = String::from("\n");
    for (number, line) in lines.iter().enumerate() {
        if number > 0 && !line[0].is_empty() {
            text.push('\n');
        }
        text.push_str(draw(line, &widths).trim_end());
        text.push('\n');
    }
    text + &closing(rows)
}

fn cells(row: &Row, first_of_case: bool) -> [String; 8] {
    let target = match row.target {
        None => String::new(),
        Some(Target::Ratio(least)) => format!(">= {least:.2}"),
        Some(Target::Value(most)) => format!("<= {}", number(most)),
        Some(Target::Growth(most)) => format!("<= {most:.2}"),
    };
    let verdict = match row.reached() {
        None => "",
        Some(true) => "reached",
        Some(false) => "missed",
    };
    [
        if first_of_case { row.case.to_owned() } else { String::new() },
        row.what.clone(),
        row.direct.map(number).unwrap_or_default(),
        number(row.mesh),
        row.ratio.map(ratio).unwrap_or_default(),
        row.ztunnel.to_owned(),
        target,
        verdict.to_owned(),
    ]
}

fn draw(line: &[String; 8], widths: &[usize; 8]) -> String {
    let cells = line.iter().zip(widths).zip(LEFT);
    let cells =
        cells.map(|((cell, &width), left)| if left { format!("{cell:width$}") } else { format!("{cell:>width$}") });
    cells.collect::<Vec<_>>().join("  ")
}

fn closing(rows: &[Row]) -> String {
    let verdicts: Vec<bool> = rows.iter().filter_map(Row::reached).collect();
    let reached = verdicts.iter().filter(|reached| **reached).count();
    format!(
        "\n{reached} of {} targets reached. Medians of the rounds; `ztunnel` is its figure on a machine of this kind.\n\
         Only ratios and CPU per unit of work carry over to another machine; docs/benchmarks.md says how to read them.",
        verdicts.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_missed_targets_are_told() {
        let rate = Row {
            case: "http-1",
            what: "requests/s".into(),
            direct: Some(20_000.0),
            mesh: 10_000.0,
            ratio: Some(0.5),
            ztunnel: "0.44",
            target: Some(Target::Ratio(0.6)),
        };
        let p50 = Row { case: "http-1", what: "p50 us".into(), direct: Some(50.0), mesh: 100.0, ..Row::default() };
        let text = render(&[rate, p50]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "case    figure      direct  mesh/peer  ratio  ztunnel  to reach");
        assert_eq!(lines[3], "http-1  requests/s  20,000     10,000   0.50     0.44   >= 0.60  missed");
        assert_eq!(lines[4], "        p50 us        50.0        100");
        assert!(text.contains("0 of 1 targets reached"));
    }
}
