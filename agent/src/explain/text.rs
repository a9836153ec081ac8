//! A report as lines of text, for people.

use std::fmt::{self, Write as _};

use super::report::{Past, Possible, Report, Step, Verdict};

/// Whether text has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// On a terminal.
    Coloured,
    /// Everywhere else.
    Plain,
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const FAINT: &str = "2";

/// How wide the names of steps are.
const NAME: usize = 12;

impl Paint {
    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{colour}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

impl Report {
    /// As lines of text.
    pub fn to_text(&self, paint: Paint) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, paint);
        text.trim_end().to_owned()
    }

    fn write(&self, out: &mut String, paint: Paint) -> fmt::Result {
        writeln!(out, "{}", paint.paint(BOLD, &self.asked))?;
        match self.generation {
            0 => writeln!(out, "seen by {}", self.view)?,
            generation => writeln!(out, "seen by {}, generation {generation}", self.view)?,
        }
        for past in &self.past {
            write_past(out, past, self.generation, paint)?;
        }
        writeln!(out)?;
        if !self.past.is_empty() {
            writeln!(out, "decided anew, as of now:")?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            write_step(out, index + 1, step, paint)?;
        }
        writeln!(out)?;
        for possible in &self.result {
            write_possible(out, possible, paint)?;
        }
        for note in &self.notes {
            writeln!(out, "{}", paint.paint(FAINT, &format!("note: {note}")))?;
        }
        Ok(())
    }
}

fn write_past(out: &mut String, past: &Past, now: u64, paint: Paint) -> fmt::Result {
    writeln!(out, "\n{} {}", paint.paint(BOLD, "what happened:"), past.says)?;
    if let Some(remedy) = &past.remedy {
        writeln!(out, "  remedy: {remedy}")?;
    }
    match past.generation == now {
        true => writeln!(out, "  the mesh is as it was then (generation {now})"),
        false => writeln!(
            out,
            "  the mesh has changed since: it was decided by generation {}, and now there is {now}",
            past.generation
        ),
    }
}

fn write_step(out: &mut String, number: usize, step: &Step, paint: Paint) -> fmt::Result {
    let colour = match step.verdict {
        Verdict::Passes => GREEN,
        Verdict::Bypasses | Verdict::Partly => YELLOW,
        Verdict::Refuses => RED,
    };
    let mark = match step.verdict {
        Verdict::Passes => "",
        Verdict::Bypasses => " (past the mesh)",
        Verdict::Partly => " (for a part)",
        Verdict::Refuses => " (refused)",
    };
    let name = format!("{:NAME$}", step.step.as_str());
    writeln!(out, "{number:>2}. {} {}{}", paint.paint(colour, &name), step.says, paint.paint(colour, mark))?;
    for why in &step.because {
        write_lines(out, "", why)?;
    }
    for other in &step.instead_of {
        write_lines(out, "not ", other)?;
    }
    Ok(())
}

/// A reason, whose further lines stand below its first.
fn write_lines(out: &mut String, before: &str, text: &str) -> fmt::Result {
    for (index, line) in text.lines().enumerate() {
        match index {
            0 => writeln!(out, "{:width$}- {before}{line}", "", width = NAME + 5)?,
            _ => writeln!(out, "{:width$}{line}", "", width = NAME + 7)?,
        }
    }
    Ok(())
}

fn write_possible(out: &mut String, possible: &Possible, paint: Paint) -> fmt::Result {
    let (word, colour) = if possible.answered { ("allowed", GREEN) } else { ("refused", RED) };
    let share = match possible.share {
        share if share > 0.9999 => String::new(),
        share => format!(" {:.1} %", share * 100.0),
    };
    let flag = possible.flag.as_ref().map(|flag| format!(" [{flag}]")).unwrap_or_default();
    write!(out, "{}: {}", paint.paint(colour, &format!("{word}{share}{flag}")), possible.says)?;
    if let Some(backend) = &possible.backend {
        write!(out, " ({backend}")?;
        match possible.endpoint {
            Some(endpoint) => write!(out, ", {endpoint})")?,
            None => out.push(')'),
        }
    }
    writeln!(out)?;
    if let Some(policy) = &possible.policy {
        writeln!(out, "  decided by {policy}")?;
    }
    if let Some(remedy) = &possible.remedy {
        writeln!(out, "  remedy: {remedy}")?;
    }
    Ok(())
}
