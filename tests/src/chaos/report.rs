//! What a scenario did, what was checked and how often, and whether it held: as lines, as a table, and as JSON.

use serde::Serialize;

/// What, and how often.
pub type Counts = Vec<(String, u64)>;

/// A scenario that was played.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    /// Its name.
    pub scenario: &'static str,
    /// What its chances followed from.
    pub seed: u64,
    /// How long it made trouble.
    pub seconds: u64,
    /// What it did: what, and how often.
    pub did: Counts,
    /// What was checked: what, and how often or by how much.
    pub checked: Counts,
    /// What did not hold, if anything.
    pub broken: Option<String>,
}

impl Played {
    /// Whether all held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.broken.is_none()
    }

    /// Everything in words; with the way to play it again where something did not hold.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("  did:     {}\n  checked: {}\n", list(&self.did), list(&self.checked));
        match &self.broken {
            None => text.push_str("  held"),
            Some(broken) => text.push_str(&format!(
                "  BROKEN:  {broken}\n  again:   cargo xtask chaos --scenario {} --seed {} --seconds {}",
                self.scenario, self.seed, self.seconds
            )),
        }
        text
    }
}

/// One line for each, and a closing one.
pub(super) fn table(played: &[Played]) -> String {
    let mut text = format!("\n{:<14} {:<7} {:<60} checked\n", "scenario", "", "did");
    for one in played {
        let verdict = if one.held() { "held" } else { "BROKEN" };
        let (did, checked) = (wrapped(&one.did), wrapped(&one.checked));
        for line in 0..did.len().max(checked.len()).max(1) {
            let cell = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
            let heads = if line == 0 { (one.scenario, verdict) } else { ("", "") };
            let row = format!("{:<14} {:<7} {:<60} {}", heads.0, heads.1, cell(&did), cell(&checked));
            text.push_str(row.trim_end());
            text.push('\n');
        }
    }
    let held = played.iter().filter(|one| one.held()).count();
    text.push_str(&format!("\n{held} of {} held.", played.len()));
    for one in played.iter().filter(|one| !one.held()) {
        text.push_str(&format!("\n\n{}\n{}", one.scenario, one.describe()));
    }
    text
}

fn list(counts: &[(String, u64)]) -> String {
    counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// Two to a line.
fn wrapped(counts: &[(String, u64)]) -> Vec<String> {
    counts.chunks(2).map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_one_says_how_to_play_it_again() {
        let good = Played {
            scenario: "loss",
            seed: 7,
            seconds: 3,
            did: vec![("packets lost".to_owned(), 12)],
            checked: vec![("streams".to_owned(), 4), ("looks".to_owned(), 5), ("MiB".to_owned(), 6)],
            broken: None,
        };
        let bad = Played { scenario: "clock", broken: Some("a wrong byte".to_owned()), ..good.clone() };
        let text = table(&[good, bad]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("loss           held    12 packets lost"), "{text}");
        assert!(lines[2].ends_with(" 4 streams, 5 looks") && lines[3].ends_with(" 6 MiB"), "{text}");
        assert!(text.contains("1 of 2 held."), "{text}");
        assert!(
            text.contains("a wrong byte\n  again:   cargo xtask chaos --scenario clock --seed 7 --seconds 3"),
            "{text}"
        );
    }
}
