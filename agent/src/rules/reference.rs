//! The reference page of mesh documents, generated: what this build enforces comes from the table that it enforces by.

use std::fmt::Write as _;

use super::{FEATURES, RuleKind};

/// The text of `deploy/CONFIGURATION.md`.
pub fn configuration_reference() -> String {
    let mut table = String::from("| kind | apiVersion | this build | for | example |\n|---|---|---|---|---|\n");
    for feature in FEATURES {
        let kind = feature.kind;
        let versions: Vec<_> = kind.api_versions().iter().map(|version| format!("`{version}`")).collect();
        let enforced = if feature.enforced { "enforced" } else { "refused: not enforced" };
        let (versions, effect, example) = (versions.join(", "), feature.effect, example(kind));
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {kind} | {versions} | {enforced} | {effect} | [{example}](examples/{example}) |");
    }
    PAGE.replace("@KINDS@\n", &table)
}

/// The file of `deploy/examples` that shows a kind.
fn example(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::HttpRoute => "canary.yaml",
        RuleKind::GrpcRoute => "grpc.yaml",
        RuleKind::TlsRoute => "tls.yaml",
        RuleKind::TcpRoute => "database.yaml",
        RuleKind::ReferenceGrant => "reference-grant.yaml",
        RuleKind::BackendTrafficPolicy => "retries.yaml",
        RuleKind::AuthorizationPolicy => "access.yaml",
        RuleKind::PeerAuthentication => "strict.yaml",
        RuleKind::RequestAuthentication => "tokens.yaml",
        RuleKind::DestinationRule => "destination.yaml",
        RuleKind::ServiceEntry => "external.yaml",
        RuleKind::RateLimit => "rate-limit.yaml",
        RuleKind::FaultInjection => "fault-injection.yaml",
        RuleKind::Fallback => "fallback.yaml",
        RuleKind::Telemetry => "telemetry.yaml",
        RuleKind::Capture => "capture.yaml",
    }
}

const PAGE: &str = r#"# Mesh documents

Generated from the agent's table of features; do not edit. Regenerate with
`HEDDLE_BLESS=1 cargo test -p heddle --lib configuration_reference`. How an agent runs is in [agent.yaml](agent.yaml); this
page is about what the mesh does.

Mesh documents are YAML in ConfigMaps with the label `heddle.io/config: "true"` (in quotes), in any namespace. Each value
under `data` holds one document or several, with `---` between them. They keep the schema of the project that they come
from. Changes take effect while the agent runs. Connections that are open keep what they began with, save for access: those
that a changed document no longer permits are ended.

## Kinds

@KINDS@
A document of a kind that this build does not enforce is checked whole and then refused: accepting it would be a promise
that nobody keeps. `heddle check --features` prints this table for the build that you have.

## Acceptance

- A document counts whole or not at all. An unknown key, a bad value, or a field of the upstream schema that is not
  enforced refuses it, with line and column, and with all other problems of the document at once. `status`, and what the
  API server writes into `metadata`, are passed over.
- A ConfigMap of a namespace defines objects of that namespace: `metadata.namespace` is that one or absent. Whoever may edit
  ConfigMaps in a namespace governs that namespace and no other.
- Documents with a selector in the root namespace (`rootNamespace` in agent.yaml, `heddle-system` if it is not set) concern
  the pods of all namespaces.
- A refused document leaves its last accepted version in force, as far as this agent has read one since it started. It also
  leaves the other documents of its ConfigMap alone. A text of which a part is no YAML leaves in force what that part may
  have defined.
- Of two documents that define the same object, the one in the older ConfigMap (`creationTimestamp`) is in force, then the
  first by namespace and name of the ConfigMap, then by key, then by place in the text. The other is a conflict, and takes
  over when the first goes.
- A document that is removed is no longer in force; nor are those of a ConfigMap that is removed or loses its label.
- A ConfigMap with the label holds mesh documents only: other kinds in it are refused.
- Documents may also be files below the directory of a file source, beside the Kubernetes objects. Such a document may name
  any namespace, and is of the root namespace if it names none. ConfigMaps come before files.
- A refused AuthorizationPolicy without an earlier version may leave a workload open to more clients than its owner wrote.
  It is counted in `heddle_rejected_authorization_policies`; all documents are in `heddle_documents`, see
  [METRICS.md](METRICS.md).

## Modes (PeerAuthentication)

| mode | a port of a pod takes | clients in the mesh come |
|---|---|---|
| `STRICT` | connections whose client has proved its identity | by a tunnel |
| `PERMISSIVE` | these, and plaintext | by a tunnel |
| `DISABLE` | the same as `PERMISSIVE` | in plaintext |

- The most specific document that says something decides: `portLevelMtls` and then `mtls` of a document that selects the pod,
  a document of its namespace without a selector, one of the root namespace without a selector, and last `mtls.mode` of
  agent.yaml at the pod's node. Ports are those of pods, not of Services. `UNSET` says nothing.
- Of several documents that select a pod, be they of its namespace or of the root namespace, the oldest is the only one that is
  looked at; likewise of several without a selector in one namespace. Age is that of the ConfigMap (`creationTimestamp`);
  documents without one, such as those of files, come last. Then namespace and name decide.
- A change counts for new connections as soon as an agent has read it, which is within a second. Open connections to the
  node's pods that it no longer permits are reset within a second too, at both ends. Open tunnels are left alone: a pod
  that has become `DISABLE` serves those that it has.
- Between `STRICT` and `DISABLE` go by way of `PERMISSIVE`. Each node reads a change for itself, and with `PERMISSIVE` between
  them no client comes in a way that is not taken any more, or not yet. Tunnels are taken in every mode.
- With `DISABLE` nothing proves who the client is, and what is sent can be read on the way.
- Plaintext that is let in is counted by source and destination in `istio_tcp_connections_opened_total` with
  `reporter="destination"` and `connection_security_policy="none"`. What is refused is in `heddle_denied_connections_total`,
  what is ended in `heddle_withdrawn_connections_total`; the access log names the document (`policy`).
- Ports that a pod excludes are not seen by the agent: no mode holds there.

## Destinations (DestinationRule, XBackendTrafficPolicy, RateLimit, FaultInjection, Fallback)

- The DestinationRule for a destination is looked for in the client's namespace, then in the destination's, then in the root
  namespace. In each, one for the very name comes before one with a wildcard, and a longer wildcard before a shorter. The
  first that is found counts alone.
- `host` is a Service (`web`, in the document's namespace, or `web.shop`, `web.shop.svc`, `web.shop.svc.cluster.local`), or the
  first host of a ServiceEntry. A wildcard is compared with whole names.
- Of `portLevelSettings`, each of `loadBalancer`, `connectionPool`, `outlierDetection` and `tls` that is there takes the place of
  what is said for all ports; what is not there is as for all ports.
- Refused, since endpoints are not picked by it: `localityLbSetting` with `distribute`, `failover` or `failoverPriority`, and
  `simple: PASSTHROUGH`. `ringHash` is kept as a table of Maglev's with 65537 places.
- Of several DestinationRules of a namespace for one destination, and of several XBackendTrafficPolicies for one Service, the
  oldest counts, as above. The others are told by `heddle status` and `heddle check`.
- `minHealthPercent`: with fewer endpoints than this in use, all are used, as if none were ejected. Those that are are probed all
  the same.
- What is over a bound of `connectionPool` is answered with 503. It is not tried again and counts as no endpoint's failure.
  `http1MaxPendingRequests` counts requests that wait for a connection, and none that finds one with room.
- RateLimits add up: a request must keep those of the Service, of the pod and of its route.
- A Fallback names the Service port that serves where its `targetRefs` cannot. It gets a request, or a connection that is carried as
  bytes, when the port that was to get it has no endpoint that may be used (none is ready, or all were left out after they failed
  or asked for a pause); when all tries ended before anything was sent to a server, those that `retry` or the default
  allows (no connection, refused unseen, no agent); or when a limit of its `connectionPool` is reached, that of requests too. It
  gets what is left of the tries, one at least, within the request's time and as long as the body can be sent once more. What
  dials a pod's own address has no fallback.
- What a server may have seen is never sent to a fallback: not after a reset, a timeout, an answer of whatever status, or a
  refusal by an AuthorizationPolicy.
- The fallback has its own balancing, DestinationRule, limits, retry budget and identities. Headers, rewrites, mirrors and limits
  stay as they were decided; its own routes do not apply, and a session or hash cookie is not written for its answer. Fallbacks do not
  chain. Each use is counted in `heddle_fallbacks_total`, and logs and metrics name the Service that got the request.
- A targetRef with a `port` comes before one without, which is for the ports that no other names; of several for the same, the
  oldest counts, as above. A Fallback whose Service or port is not there is told in the same way, and changes nothing, nor does
  one without ready endpoints.
- An ExtensionRef of a route to a document that is not in force is told in the same way, and requests that the rule matches
  are answered with 500.

## Retries, timeouts and sessions (HTTPRoute, GRPCRoute, XBackendTrafficPolicy)

- A rule with `retry` has tried again: the `codes` that it names, for every method; what reached `timeouts.backendRequest`, for
  every method, so that a server may do twice what it does slowly; connections that could not be opened and requests that the
  server refused unread; and connections that broke before an answer, where the method is idempotent (RFC 9110, 9.2.2): the
  server may have done what was asked. Without `attempts` there is one more try, with 0 none.
- Of an endpoint in the mesh, it is the agent at its node that talks to the application. One that it could not open a connection to
  is as one that the client's agent could not. A connection that broke is its answer 503, and falls under `codes` and under
  answers of the server.
- Without `retry` there is one more try of what was certainly not done, and of an idempotent request whose kept connection the
  server had closed.
- `timeouts.request` includes everything, delays of a FaultInjection and all tries: 504, or a broken body where it has begun.
  `timeouts.backendRequest` is for one try, up to the head of its answer.
- A session comes before the weights of a rule's backends, also where its backend has weight 0. When its endpoint is gone or
  ejected, the client gets another and is told.
- The sessions of a rule (`sessionPersistence`) are for all its backends, and their cookie has the path of the match. Those of an
  XBackendTrafficPolicy are for the Service that it names, as the one that gets the request, and their cookie has no path. Rules
  never share sessions: where several lead to one Service, give each a `sessionName` of its own.
- A Service with `sessionAffinity: ClientIP` and sessions has both: the client's address decides over the first request, the session
  over those that come with it. (GEP-1619 wants the route refused where an implementation sends to the Service's address, and
  kube-proxy decides. The agent sends to endpoints.)
- Cookies are `HttpOnly` and `SameSite=Strict`. They are not `Secure`, because the client speaks plain HTTP to its own node.

## Logs and traces (Telemetry)

- `accessLog` and `tracing` are decided each by itself, by the most specific document that has it: one that selects the pod,
  one of its namespace without a selector, one of the root namespace without a selector, and last agent.yaml (`log.access`,
  `tracing.samplingPercentage`). Of two that are as specific the older counts, as above; the other is told by `heddle check`.
- The pod is that of the node which reports: of a request, the client's at the client's node and the server's at the server's. A
  change counts for requests that begin after an agent has read it, and for new connections.
- `accessLog.samplingPercentage` is of what succeeds. What ends with a response flag, with a status from 500 on, or with a gRPC
  status that is the server's fault (UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS) is always logged.
  The request id decides, so that both nodes log the same requests. With `enabled: false` there are no lines, not of failures
  either. What is left out is counted in `heddle_access_log_left_out_total`.
- `tracing.samplingPercentage` is of the requests that nobody has decided over. A decision that comes in `traceparent` or B3
  counts, whatever the share: whoever began the trace has made it. Without one the request id decides, at both nodes alike: where
  both pods have the same share, a recorded request has both spans. One that is not recorded stays as it came: a trace that is
  marked as not recorded would keep the server's application from recording its own. Only B3 without a decision is told that it
  is not recorded.
- There are no spans without `tracing.otlp` in agent.yaml, and trace headers are passed on as they came.
- The span of the client's node (kind CLIENT) is a child of the application's, that of the server's node (SERVER) a child of the
  client's node's, and what the server's application records a child of that: the parent's id in the trace header is rewritten in
  each format that came, and `tracestate` stays. Where no trace came, a W3C `traceparent` begins one. Tries of one request are one
  CLIENT span with one SERVER span for each try.
- `service.name` is the pod's canonical service (`service.istio.io/canonical-name`, `app.kubernetes.io/name`, `app`, or its owner's
  name), with `service.namespace`. Attributes are those of OpenTelemetry's conventions for HTTP, RPC (`rpc.*` of the stable
  version), network and TLS, and `heddle.*`. Queries, headers and bodies are not in them.
- Up to 8,192 spans wait for the collector. What it does not take, after tries for 30 s, is lost and counted in
  `heddle_spans_dropped_total`. Requests never wait for it.

## Labels and annotations

| on | name | values | meaning |
|---|---|---|---|
| Namespace, Pod | label `heddle.io/mesh` | `enabled`, `disabled` | whether pods are in the mesh; the pod's own label comes first |
| ConfigMap | label `heddle.io/config` | `"true"` | it holds mesh documents |
| Pod | annotation `heddle.io/exclude-inbound-ports` | ports, with commas between | clients reach them past the agent, in the clear |
| Pod | annotation `heddle.io/exclude-outbound-ports` | the same | the pod connects to them past the agent, in the clear |
| Pod | annotation `heddle.io/exclude-outbound-cidrs` | networks, with commas between | the pod connects to them past the agent, in the clear |
| Pod | annotation `heddle.io/opaque-ports` | ports, with commas between | never parsed as HTTP |
| Pod, with a file source | annotation `heddle.io/netns` | an absolute path | the pod's network namespace |
| AuthorizationPolicy | annotation `heddle.io/dry-run`, or `istio.io/dry-run` | `"true"`, `"false"` | it is evaluated and counted, and decides nothing |

A bad value of a pod's annotation is reported and excludes nothing. A Capture document says the same for many pods; a pod has
what its annotations and all documents that select it say together.

## What a pod may have of its agent (Capture, `share`)

All pods of a node share one agent. What each may have of it is `limits.pod` of agent.yaml, unless a Capture document says
otherwise; a change counts at once, for what comes.

| field | bounds | at the bound |
|---|---|---|
| `weight` | time of a data thread that several pods want: they have it in the proportion of their weights. 100 by default | who has used more waits until those who used less have had their turn; a thread that nobody else wants is its own |
| `connections` | connections from the pod, and as many to it; to it, those that carry tunnels count, and those in them | they wait in the pod's own queue; those in tunnels wait for an answer, for `limits.connectTimeout`, and are then refused with 503 |
| `handshakes` | TLS handshakes of tunnels to the pod that are under way, and as many from it | they wait in the pod's own queue; those from it, before they dial |
| `bufferBytes` | bytes in the agent that nobody takes, half of them in each direction | to be sent: each connection goes on with 4 KiB at a time. Received: the agent reads nothing more from the pod's tunnels, all of them, until the pod reads; peers that were promised room cut a tunnel that is not read for 20 s |

- A document of the root namespace says more or less than the default. One of the pod's own namespace can only say less: more would be
  at the cost of other namespaces. Of several documents the smallest number counts, field by field.
- All pods together have `limits.connections` and `limits.memory` of agent.yaml: beyond them what is new is refused, with the flag
  `OM`. [docs/bounds.md](../docs/bounds.md) lists these and all other bounds.
- Connections that the kernel carries by itself count for nothing here: the agent does nothing for them.
- What is in use, what is waited for and what a pod may have is in the metrics `heddle_pod_*`.

## AuthorizationPolicy

Evaluated at the server's node, as Istio documents it: a DENY rule that matches refuses; then, where any ALLOW policy selects
the pod, one of their rules must match; then all is allowed. AUDIT policies, and policies on trial (dry-run), decide nothing.

- Identities are those that TLS proved. Plaintext has none: it matches no `principals`, `namespaces` or `serviceAccounts`, and
  each of their negations. The same holds for what a request or its token has not.
- The names of the own trust domain, which are `trustDomain` and `trustDomainAliases` of agent.yaml and `cluster.local`, mean
  the same wherever a principal has one of them before its first `/`.
- `ports` are those of the pod. `hosts` are compared without case and with the port that the request has: write
  `example.com` and `example.com:*`. `paths` are compared without the query.
- Of a header or claim with several values, one that is asked for is enough. Values of a header that comes several times are
  compared one by one (Envoy joins them with commas). The claims `scope` and `permission` are lists of words.
- `remoteIpBlocks` and `remote.ip` are the connection's own address where no proxy is trusted.
- IPv4 addresses that are written as IPv6 ones (`::ffff:192.0.2.1`) are IPv4 addresses, in documents too.

On a connection that is not parsed as HTTP, there is no host, method, path, header or token to look at:

| action | a rule that asks for one of these, or for its absence |
|---|---|
| DENY | takes it for met, and so **refuses** every connection that the rest of the rule matches |
| ALLOW | does not match, with all its sources and operations |
| AUDIT | does not match (Istio's sidecars take it for met) |

So a DENY rule about requests should name `ports`, and an ALLOW rule about requests lets no other protocol in. `heddle check`
says both of ports that are declared opaque.

## heddle check

`heddle check PATH...` reads files and directories as an agent would, without one. Each finding has a severity, the object, a
place, and the source line:

- An error is what an agent would refuse.
- A warning is what is legal and surely not meant: a route to a Service that is not there, a selector that selects no pod, a
  match that an earlier one takes everything from. Warnings are given for kinds that are not enforced yet too. What is
  missing is looked for only where the input has any object of that kind; the summary names the kinds that it had none of.

`--features` prints the kinds and ends; `-o json` is for programs; `--root-namespace` and `--trust-domain` are as in
agent.yaml.

| exit code | meaning |
|---|---|
| 0 | everything would be accepted; there may be warnings |
| 1 | something would be refused |
| 2 | the call itself is wrong, or a path cannot be read |

## heddle status

`heddle status` asks the agent of this node, by its admin socket (`--socket PATH`): readiness, pods, certificates, and each
document with its fate: `accepted`, `rejected`, `conflict`. `-o json` gives the agent's answer.

| exit code | meaning |
|---|---|
| 0 | all is well |
| 1 | something needs attention, said last, one line each |
| 2 | the agent does not answer, or wrong usage |
"#;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs, path::Path};

    use super::*;

    fn deploy() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
    }

    #[test]
    fn configuration_reference_is_up_to_date() {
        let (path, generated) = (deploy().join("CONFIGURATION.md"), configuration_reference());
        if std::env::var_os("HEDDLE_BLESS").is_some() {
            fs::write(&path, &generated).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == generated,
            "deploy/CONFIGURATION.md is not what the table says; regenerate it with \
             `HEDDLE_BLESS=1 cargo test -p heddle --lib configuration_reference`"
        );
        assert!(!generated.contains("@KINDS@"));
    }

    #[test]
    fn each_kind_has_an_example_that_shows_it() {
        for kind in RuleKind::ALL {
            let text = fs::read_to_string(deploy().join("examples").join(example(*kind))).unwrap();
            assert!(text.lines().any(|line| line.trim() == format!("kind: {kind}")), "{kind}");
        }
    }
}
