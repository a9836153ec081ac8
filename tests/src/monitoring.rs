//! What `deploy/monitoring` has for Grafana, as far as tests read it: panels, and the queries of panels and variables.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// A Grafana dashboard.
#[derive(Debug, Deserialize)]
pub struct Dashboard {
    /// Rows and what is in them, in one list: a row that is open has no panels of its own.
    pub panels: Vec<Panel>,
    templating: Templating,
}

/// A panel, or the heading of a row.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// Its number.
    pub id: u32,
    /// `row`, `timeseries`, `stat`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// What it says, in words.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    field_config: FieldConfig,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

/// A variable of a dashboard.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// `datasource`, `query`, `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    definition: String,
    #[serde(default)]
    all_value: Option<String>,
    #[serde(default)]
    current: Current,
}

#[derive(Debug, Default, Deserialize)]
struct Current {
    value: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct FieldConfig {
    defaults: Defaults,
}

#[derive(Debug, Default, Deserialize)]
struct Defaults {
    #[serde(default)]
    unit: String,
}

#[derive(Debug, Deserialize)]
struct Target {
    expr: String,
}

/// A file below `deploy/monitoring`.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name)
}

impl Dashboard {
    /// The one that is delivered.
    pub fn delivered() -> Result<Self> {
        let path = file("dashboard.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).context("dashboard.json is not what Grafana reads")
    }

    /// Its variables.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.templating.list
    }

    /// The expressions of a panel, with each variable's first value in its place and windows of this length.
    pub fn expressions(&self, panel: &Panel, window: &str) -> Result<Vec<String>> {
        panel.targets.iter().map(|target| self.filled_in(&target.expr, window)).collect()
    }

    /// What the variables are filled from: a selector, and the label whose values it gives.
    pub fn label_queries(&self) -> Result<Vec<(String, String)>> {
        let queries = self.variables().iter().filter(|variable| variable.kind == "query");
        let parts = queries.map(|variable| {
            let query = self.filled_in(&variable.definition, "5m")?;
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = inner.and_then(|inner| inner.rsplit_once(", ")).with_context(|| query.clone())?;
            Ok((selector.to_owned(), label.to_owned()))
        });
        parts.collect()
    }

    fn filled_in(&self, expression: &str, window: &str) -> Result<String> {
        let mut filled = expression.replace("$__rate_interval", window);
        for variable in self.variables() {
            let name = format!("${}", variable.name);
            if filled.contains(&name) {
                let value = variable.all_value.as_ref().or(variable.current.value.as_ref());
                filled = filled.replace(&name, value.with_context(|| format!("{name} has no value"))?);
            }
        }
        anyhow::ensure!(!filled.contains('$'), "a variable of `{expression}` is not declared");
        Ok(filled)
    }
}

impl Panel {
    /// Whether it is the heading of a row.
    #[must_use]
    pub fn is_row(&self) -> bool {
        self.kind == "row"
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.field_config.defaults.unit
    }

    /// How many queries it has.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.targets.len()
    }
}
