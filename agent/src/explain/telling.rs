//! An explanation while it is made: the steps are told one after the other, and what can come of it is added up.

use http::StatusCode;
use serde::Serialize;

use super::report::{Possible, Step, StepName, Verdict};
use crate::{
    failure::Failed,
    observe::{Failure, ResponseFlag},
    request::RequestFailed,
};

/// Possibilities with a smaller share are not told.
const TOO_SMALL: f64 = 1e-6;

#[derive(Debug, Default)]
pub(super) struct Telling {
    pub(super) steps: Vec<Step>,
    pub(super) result: Vec<Possible>,
    pub(super) notes: Vec<String>,
}

impl Telling {
    /// A step that passes.
    pub(super) fn step(&mut self, step: StepName, says: impl Into<String>) -> &mut Step {
        self.steps.push(Step {
            step,
            verdict: Verdict::Passes,
            says: says.into(),
            because: Vec::new(),
            instead_of: Vec::new(),
            details: serde_json::Value::Null,
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// What cannot be known from here, once.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a possibility. One that is the same as another makes that likelier.
    pub(super) fn possible(&mut self, possible: Possible) {
        let same = |other: &&mut Possible| {
            let is_it = |one: &Possible, other: &Possible| {
                (one.answered, &one.says, &one.backend, one.status, &one.flag, &one.policy)
                    == (other.answered, &other.says, &other.backend, other.status, &other.flag, &other.policy)
            };
            is_it(other, &possible)
        };
        match self.result.iter_mut().find(same) {
            Some(known) => {
                known.share += possible.share;
                known.endpoint = known.endpoint.filter(|endpoint| Some(*endpoint) == possible.endpoint);
            }
            None if possible.share > TOO_SMALL => self.result.push(possible),
            None => {}
        }
    }

    /// A connection that comes to an end.
    pub(super) fn connection_fails(&mut self, share: f64, failed: &Failed, backend: Option<&str>) {
        let Failure { flag, error, denied_by } = failed.into();
        self.possible(Possible {
            policy: denied_by,
            backend: backend.map(ToOwned::to_owned),
            ..refused(share, flag, format!("the connection is reset: {error}"))
        });
    }

    /// A request that the mesh answers.
    pub(super) fn request_fails(&mut self, share: f64, failed: &RequestFailed, asked: Refused<'_>) {
        let Failure { flag, error, denied_by } = failed.failure();
        let status = failed.status();
        let says = match asked.is_grpc {
            true => format!("the call ends with status {} ({status} of HTTP): {error}", failed.grpc_status()),
            false => format!("it is answered {status}: {error}"),
        };
        self.possible(Possible {
            policy: denied_by,
            backend: asked.backend.map(ToOwned::to_owned),
            status: Some(if asked.is_grpc { StatusCode::OK } else { status }.as_u16()),
            grpc_status: asked.is_grpc.then(|| failed.grpc_status()),
            ..refused(share, flag, says)
        });
    }
}

/// What of a request decides how its refusal looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused<'a> {
    pub(super) is_grpc: bool,
    pub(super) backend: Option<&'a str>,
}

impl Step {
    /// Says why.
    pub(super) fn because(&mut self, why: impl Into<String>) -> &mut Self {
        self.because.push(why.into());
        self
    }

    /// Says what is not taken, and why.
    pub(super) fn instead_of(&mut self, what: impl Into<String>) -> &mut Self {
        self.instead_of.push(what.into());
        self
    }

    /// It ends here.
    pub(super) fn refuses(&mut self) -> &mut Self {
        self.verdict = Verdict::Refuses;
        self
    }

    pub(super) fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.verdict = verdict;
        self
    }

    pub(super) fn details(&mut self, details: impl Serialize) -> &mut Self {
        // What cannot be written is not told twice.
        self.details = serde_json::to_value(details).unwrap_or_default();
        self
    }
}

/// Something that fails with a flag.
pub(super) fn refused(share: f64, flag: ResponseFlag, says: String) -> Possible {
    Possible {
        share,
        answered: false,
        says,
        backend: None,
        endpoint: None,
        status: None,
        grpc_status: None,
        flag: Some(flag.as_str().to_owned()),
        policy: None,
        remedy: Some(flag.remedy().to_owned()),
    }
}

/// Something that the server gets.
pub(super) fn answered(share: f64, says: impl Into<String>) -> Possible {
    Possible {
        share,
        answered: true,
        says: says.into(),
        backend: None,
        endpoint: None,
        status: None,
        grpc_status: None,
        flag: None,
        policy: None,
        remedy: None,
    }
}
