//! What a person has chosen to see, and what keys change of it.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    connections,
    traffic::{Flow, Second},
    view::{Row, View},
};
use crate::observe::OpenView;

/// Seconds that are kept, for trends.
pub(super) const KEPT: usize = 60;

/// Everything on the screen.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) view: View,
    /// By which column, names first.
    pub(super) sort: usize,
    pub(super) ascending: bool,
    pub(super) selected: usize,
    /// Rows have this in one of their names.
    pub(super) filter: String,
    /// Whether keys are part of the filter now.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// The workload whose flows are shown.
    pub(super) inside: Option<String>,
    seconds: VecDeque<Second>,
    /// Those that were open a moment ago, while they are shown.
    connections: Option<OpenView>,
    /// What was too much to be told apart, of the last second.
    pub(super) left_out: u64,
    /// Why nothing comes any more.
    pub(super) trouble: Option<String>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

impl State {
    pub(super) fn new() -> Self {
        // By the first rate, the highest first.
        Self { sort: View::default().names().len(), ..Self::default() }
    }

    /// Another second is over.
    pub(super) fn add(&mut self, second: Second) {
        self.trouble = None;
        if self.is_paused {
            return;
        }
        self.left_out = second.left_out;
        if self.seconds.len() == KEPT {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second);
    }

    /// The connections that are open now.
    pub(super) fn set_connections(&mut self, connections: OpenView) {
        if !self.is_paused {
            self.connections = Some(connections);
        }
    }

    /// Whether nothing was seen yet of what is shown.
    pub(super) fn is_waiting(&self) -> bool {
        match self.view {
            View::Connections => self.connections.is_none(),
            View::Workloads | View::Routes | View::Flows => self.seconds.is_empty(),
        }
    }

    /// How many connections are open beyond those that are looked at, where connections are shown.
    pub(super) fn unseen(&self) -> usize {
        let open = self.connections.as_ref().filter(|_| self.view == View::Connections);
        open.map_or(0, |open| open.open - open.connections.len().min(open.open))
    }

    /// The rows of the view, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let filter = self.filter.to_lowercase();
        let of = |flow: &Flow| match &self.inside {
            None => true,
            Some(workload) => flow.source.to_string() == *workload || flow.to() == *workload,
        };
        let mut rows = match self.view {
            View::Connections => {
                self.connections.iter().flat_map(|open| connections::rows(open, self.inside.as_deref())).collect()
            }
            view => view.rows(&self.seconds, &of),
        };
        rows.retain(|row| filter.is_empty() || row.names.iter().any(|name| name.to_lowercase().contains(&filter)));
        let names = self.view.names().len();
        rows.sort_by(|one, other| {
            let order = match self.sort.checked_sub(names) {
                None => one.names[self.sort].cmp(&other.names[self.sort]),
                // The most first, unless asked otherwise; what has no number is the least.
                Some(number) => {
                    let of = |row: &Row| row.numbers[number].unwrap_or(-1.0);
                    of(other).total_cmp(&of(one))
                }
            };
            if self.ascending { order.reverse() } else { order }.then_with(|| one.names.cmp(&other.names))
        });
        rows
    }

    /// Does what a key means.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Next::Quit;
        }
        if self.is_typing {
            self.typed(key.code);
            return Next::Go;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?') | KeyCode::F(1) => self.shows_help = !self.shows_help,
            KeyCode::Esc if self.shows_help => self.shows_help = false,
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            KeyCode::Char('1') => self.show(View::Workloads),
            KeyCode::Char('2') => self.show(View::Routes),
            KeyCode::Char('3') => self.show(View::Flows),
            KeyCode::Char('4') => self.show(View::Connections),
            KeyCode::Tab => self.show(self.neighbour(1)),
            KeyCode::BackTab => self.show(self.neighbour(View::ALL.len() - 1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::PageDown => self.select(self.selected.saturating_add(10)),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(10)),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Right | KeyCode::Char('s') => self.sort = (self.sort + 1) % self.columns(),
            KeyCode::Left => self.sort = (self.sort + self.columns() - 1) % self.columns(),
            KeyCode::Char('r') => self.ascending = !self.ascending,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Enter => self.enter(),
            _ => {}
        }
        Next::Go
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Esc => (self.filter, self.is_typing) = (String::new(), false),
            KeyCode::Enter => self.is_typing = false,
            _ => {}
        }
        self.select(self.selected);
    }

    /// Into the flows of the workload under the cursor, or its open connections.
    fn enter(&mut self) {
        let Some(row) = self.rows().into_iter().nth(self.selected) else { return };
        let (view, name) = match self.view {
            View::Workloads => (View::Flows, row.names.into_iter().next()),
            View::Routes => (View::Flows, row.names.into_iter().next_back()),
            View::Flows => (View::Connections, row.names.into_iter().next()),
            View::Connections => return,
        };
        self.show(view);
        (self.inside, self.filter) = (name, String::new());
    }

    fn back(&mut self) {
        match (self.filter.is_empty(), self.inside.take()) {
            (false, inside) => (self.filter, self.inside) = (String::new(), inside),
            (true, Some(_)) => self.show(View::Workloads),
            (true, None) => {}
        }
    }

    fn show(&mut self, view: View) {
        if self.view != view {
            (self.view, self.sort, self.ascending, self.selected, self.inside) =
                (view, view.names().len(), false, 0, None);
        }
    }

    fn neighbour(&self, steps: usize) -> View {
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or_default();
        View::ALL[(at + steps) % View::ALL.len()]
    }

    /// The title of the column that says the order, which a narrow screen may have no room for.
    pub(super) fn sorted_by(&self) -> &'static str {
        let names = self.view.names();
        match self.sort.checked_sub(names.len()) {
            None => names[self.sort].title,
            Some(number) => self.view.numbers()[number].title,
        }
    }

    fn columns(&self) -> usize {
        self.view.names().len() + self.view.numbers().len()
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows().len().saturating_sub(1));
    }
}
