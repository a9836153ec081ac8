//! How numbers are written, so that they fit a narrow column.

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    PerSecond,
    Count,
    Percent,
    Milliseconds,
    Seconds,
    Bytes,
}

impl Unit {
    /// In at most six characters.
    pub(super) fn text(self, number: f64) -> String {
        match self {
            Self::PerSecond if number == 0.0 => "0".to_owned(),
            Self::Bytes | Self::Count if number < 1_000.0 => format!("{number:.0}"),
            Self::PerSecond | Self::Bytes | Self::Count => scaled(number),
            Self::Seconds if number < 100.0 => format!("{number:.0}s"),
            Self::Seconds if number < 6_000.0 => format!("{:.0}m", number / 60.0),
            Self::Seconds => format!("{:.0}h", number / 3_600.0),
            Self::Percent if number == 0.0 => "0".to_owned(),
            Self::Percent if number > 0.0 && number < 0.1 => "<0.1".to_owned(),
            Self::Percent if number >= 99.95 => "100".to_owned(),
            Self::Percent => format!("{number:.1}"),
            Self::Milliseconds if number < 10.0 => format!("{number:.2}"),
            Self::Milliseconds if number < 1_000.0 => format!("{number:.0}"),
            Self::Milliseconds if number < 100_000.0 => format!("{:.1}s", number / 1_000.0),
            Self::Milliseconds => Self::Seconds.text(number / 1_000.0),
        }
    }
}

fn scaled(number: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would be rounded up to 1000.0 is one of the next unit.
    match units.into_iter().find(|(size, _)| number >= *size * 0.99995) {
        Some((size, unit)) => format!("{:.1}{unit}", number / size),
        None => format!("{number:.1}"),
    }
}
