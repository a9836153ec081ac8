//! The shape of an explanation, as `/explain` answers it and `heddle explain` reads it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An explanation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The question.
    pub asked: String,
    /// From where it was looked at: the agent of a node, or objects.
    pub view: String,
    /// Generation of the snapshot that decides; 0 for objects.
    pub generation: u64,
    /// What became of the connection or requests that were asked about, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Past>,
    /// Each decision, in order.
    pub steps: Vec<Step>,
    /// What can come of it, the likeliest first; the shares add up to 1.
    pub result: Vec<Possible>,
    /// Whether all of that is an answer of the server.
    pub answered: bool,
    /// What was not looked at, or cannot be known from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Which one.
    pub step: StepName,
    /// Whether it goes on from here.
    pub verdict: Verdict,
    /// What is decided.
    pub says: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What else there was, and why it is not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<String>,
    /// The same for programs, where there is more of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// The decisions, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepName {
    /// Does the kernel hand the connection to the agent?
    Capture,
    /// Who is the client, and what proves it?
    Identity,
    /// What does the dialled address stand for?
    Destination,
    /// What is spoken?
    Protocol,
    /// Are there too many requests?
    Limits,
    /// Which rule of which route decides?
    Route,
    /// What is done to the request, on purpose?
    Filters,
    /// Does it fail on purpose?
    Faults,
    /// How long may it take?
    Timeouts,
    /// What is tried again?
    Retries,
    /// Which backend?
    Backend,
    /// What do documents say of the backend?
    Policy,
    /// Which endpoint?
    Endpoint,
    /// How is it reached?
    Way,
    /// Where does it arrive, at the server's side?
    Arrival,
    /// Which mode has the port?
    Mode,
    /// Is the token believed?
    Token,
    /// What do the policies say?
    Access,
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Passes,
    /// Yes, past the agent.
    Bypasses,
    /// For a part of what comes.
    Partly,
    /// No.
    Refuses,
}

/// What can come of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Possible {
    /// What part of all it is, from 0 to 1.
    pub share: f64,
    /// Whether the server gets it.
    pub answered: bool,
    /// What happens, in words.
    pub says: String,
    /// Which Service gets it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Which endpoint, where only one comes into question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// The status that the mesh answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The status of a gRPC call that the mesh answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u8>,
    /// The response flag that logs and metrics have then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// The document that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What became of a connection or request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// It in one line.
    pub says: String,
    /// What to do about it, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Generation of the snapshot that decided.
    pub generation: u64,
    /// The fields of the access log; of an open connection, what `/connections` has of it.
    pub fields: Value,
}

impl StepName {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Identity => "identity",
            Self::Destination => "destination",
            Self::Protocol => "protocol",
            Self::Limits => "limits",
            Self::Route => "route",
            Self::Filters => "filters",
            Self::Faults => "faults",
            Self::Timeouts => "timeouts",
            Self::Retries => "retries",
            Self::Backend => "backend",
            Self::Policy => "policy",
            Self::Endpoint => "endpoint",
            Self::Way => "way",
            Self::Arrival => "arrival",
            Self::Mode => "mode",
            Self::Token => "token",
            Self::Access => "access",
        }
    }
}
