//! nginx as either proxy. Workers share the listening port by `reuseport`, so that each has connections of its own.

use std::net::SocketAddr;

use super::{HTTP_IN, NAME, Plan, Side, TLS_IN};
use crate::bench::ground::RULED;

/// Connections to the next hop that a worker keeps: more than any case has clients.
const KEPT: usize = 128;

/// Its configuration.
pub(super) fn config(plan: &Plan<'_>) -> String {
    let (listen, to, pass) = match plan.side {
        Side::Client { to } => (listen_in_the_clear(), to, to_tls(plan)),
        Side::Server { to } => (listen_with_tls(plan), to, "proxy_pass http://next;".to_owned()),
    };
    let (workers, directory) = (plan.workers, plan.directory.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {directory}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes {workers};\npid {directory}/nginx.pid;\nworker_rlimit_nofile 65536;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n{temporary}\
         {}  server {{\n{listen}    location {RULED} {{\n      {pass}\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n    }}\n    location / {{ return 404; }}\n  }}\n}}\n",
        next_hop(to)
    )
}

fn next_hop(to: SocketAddr) -> String {
    format!(
        "  upstream next {{\n    server {to};\n    keepalive {KEPT};\n    keepalive_requests 1000000000;\n    \
         keepalive_timeout 1h;\n  }}\n"
    )
}

fn listen_in_the_clear() -> String {
    format!("    listen {HTTP_IN} reuseport backlog=4096;\n")
}

fn listen_with_tls(plan: &Plan<'_>) -> String {
    let (root, own) = (plan.certificates.root.display(), plan.certificates.server.display());
    format!(
        "    listen {TLS_IN} ssl reuseport backlog=4096;\n    ssl_protocols TLSv1.3;\n    \
         ssl_certificate {own};\n    ssl_certificate_key {own};\n    \
         ssl_client_certificate {root};\n    ssl_verify_client on;\n"
    )
}

fn to_tls(plan: &Plan<'_>) -> String {
    let (root, own) = (plan.certificates.root.display(), plan.certificates.client.display());
    format!(
        "proxy_pass https://next;\n      proxy_ssl_protocols TLSv1.3;\n      proxy_ssl_name {NAME};\n      \
         proxy_ssl_server_name on;\n      proxy_ssl_verify on;\n      proxy_ssl_trusted_certificate {root};\n      \
         proxy_ssl_certificate {own};\n      proxy_ssl_certificate_key {own};"
    )
}
