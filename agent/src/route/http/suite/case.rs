//! The form of a file of the suite, and the Services that all its routes are about.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The Services of `tests/routes/README.md`: `namespace/name`, its ports, and how many endpoints it has.
pub(crate) const SERVICES: [(&str, &[u16], usize); 12] = [
    ("shop/web", &[80, 443, 8080], 2),
    ("shop/v1", &[80, 8080], 1),
    ("shop/v2", &[80], 1),
    ("shop/v3", &[80], 1),
    ("shop/copies", &[80], 1),
    ("shop/calls", &[80], 1),
    ("shop/idle", &[80], 0),
    ("shop/pods", &[80], 1),
    ("shop/nobody", &[80], 0),
    ("shop/alias", &[80], 0),
    ("other/web", &[80], 1),
    ("clients/own", &[80], 1),
];

/// Routes, and what has to become of requests to them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// What the group shows.
    pub(crate) promise: String,
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
    /// Parents for which routes do nothing, as `heddle status` tells them.
    #[serde(default)]
    pub(crate) problems: Vec<String>,
    #[serde(default)]
    pub(crate) cases: Vec<Case>,
}

/// A route; it is put into a ConfigMap of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default = "http_route")]
    pub(crate) kind: String,
    #[serde(default = "web")]
    pub(crate) name: String,
    #[serde(default = "shop")]
    pub(crate) namespace: String,
    /// The age of its ConfigMap: the day on which it was made.
    #[serde(default)]
    pub(crate) day: Option<u64>,
    /// Without `parentRefs` it is for port 80 of Service web in its namespace.
    pub(crate) spec: serde_json::Map<String, serde_json::Value>,
}

/// One request or connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    #[serde(default)]
    pub(crate) request: Option<Sent>,
    #[serde(default)]
    pub(crate) connection: Option<Connection>,
    pub(crate) expect: Expected,
}

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    /// Service and port that is dialled.
    #[serde(default = "web_80")]
    pub(crate) to: String,
    /// The client's namespace.
    #[serde(default = "clients")]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default = "root")]
    pub(crate) path: String,
    #[serde(default = "web")]
    pub(crate) host: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// A gRPC call: a POST with its content type.
    #[serde(default)]
    pub(crate) grpc: bool,
    /// Which random number is drawn, as a share of all there are.
    #[serde(default)]
    pub(crate) draw: f64,
    /// Headers of the backend's response.
    #[serde(default)]
    pub(crate) answered: Vec<(String, String)>,
}

/// A connection that is no HTTP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connection {
    #[serde(default = "web_80")]
    pub(crate) to: String,
    #[serde(default = "clients")]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) sni: Option<String>,
    #[serde(default)]
    pub(crate) draw: f64,
}

/// What has to come of it; what is not said is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Expected {
    /// `true`: no route decides, the Service's endpoints serve.
    #[serde(default)]
    pub(crate) implicit: bool,
    /// `name#rule` of the route, or `name#rule.match`.
    pub(crate) rule: Option<String>,
    /// Service and port that gets it.
    pub(crate) backend: Option<String>,
    /// What the backend sees.
    pub(crate) path: Option<String>,
    pub(crate) host: Option<String>,
    /// Headers that the backend sees; all values of a name with ` | ` between, and nothing where there must be none.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Option<String>>,
    /// Headers that the client sees.
    #[serde(default)]
    pub(crate) response: BTreeMap<String, Option<String>>,
    /// The mesh answers.
    pub(crate) status: Option<u16>,
    pub(crate) grpc_status: Option<String>,
    pub(crate) location: Option<String>,
    /// Who gets a copy; a copy that is dropped is `dropped`.
    pub(crate) mirrors: Option<Vec<String>>,
    /// What a thousand requests get, of numbers drawn evenly: by backend, or by status.
    pub(crate) share: Option<BTreeMap<String, usize>>,
    /// Of a thousand requests, how many have a copy; within 5 %.
    pub(crate) mirrored: Option<usize>,
    /// `kind/name` of the filters that are referred to.
    pub(crate) extensions: Option<Vec<String>>,
    /// `request backendRequest`, each a duration or `-`.
    pub(crate) timeouts: Option<String>,
    /// `codes attempts backoff`, each or `-`.
    pub(crate) retry: Option<String>,
    /// The name of the session's cookie or header.
    pub(crate) session: Option<String>,
    /// Of a connection: it is refused.
    #[serde(default)]
    pub(crate) refused: bool,
    /// The explanation: `field: wanted, found` of each match before the one that decides.
    pub(crate) because: Option<Vec<String>>,
}

fn http_route() -> String {
    "HTTPRoute".to_owned()
}

fn web() -> String {
    "web".to_owned()
}

fn shop() -> String {
    "shop".to_owned()
}

fn clients() -> String {
    "clients".to_owned()
}

fn web_80() -> String {
    "shop/web:80".to_owned()
}

fn root() -> String {
    "/".to_owned()
}
