//! How a table of metrics is declared: each row has a name, a unit, labels and help, and becomes a typed field.

/// Declares a struct with one field for each row, and the table of the rows in the order of the reference.
macro_rules! declare_metrics {
    ($(#[$doc:meta])* $seen:vis struct $metrics:ident, $table:ident;
     $($vis:vis $field:ident: $handle:ty = $name:literal [$unit:literal] $labels:expr, $help:literal;)+) => {
        $(#[$doc])*
        #[derive(Debug)]
        $seen struct $metrics {
            $(#[doc = $help] $vis $field: $handle,)+
            pub(super) derived: Derived,
        }

        /// Every row, in the order of the reference.
        pub const $table: &[MetricSpec] = &[$(MetricSpec {
            name: $name,
            kind: <$handle as Instrument>::KIND,
            unit: $unit,
            labels: $labels,
            help: $help,
        },)+];

        impl $metrics {
            /// Builds and registers every row.
            pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
                let mut rows = $table.iter();
                let mut next = || rows.next().ok_or(prometheus::Error::AlreadyReg);
                Ok(Self { $($field: Instrument::build(next()?, registry)?,)+ derived: Derived::default() })
            }
        }
    };
}

pub(super) use declare_metrics;
