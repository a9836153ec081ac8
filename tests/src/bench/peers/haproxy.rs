//! haproxy as either proxy.

use super::{HTTP_IN, NAME, Plan, Side, TLS_IN};
use crate::bench::ground::RULED;

/// Its configuration.
pub(super) fn config(plan: &Plan<'_>) -> String {
    let (root, certificates) = (plan.certificates.root.display(), plan.certificates);
    let (bind, server) = match plan.side {
        Side::Client { to } => {
            let own = certificates.client.display();
            let verified = format!("verify required ca-file {root} verifyhost {NAME} sni str({NAME})");
            (format!(":{HTTP_IN}"), format!("{to} ssl crt {own} {verified} ssl-min-ver TLSv1.3 alpn http/1.1"))
        }
        Side::Server { to } => {
            let own = certificates.server.display();
            let verified = format!("verify required ca-file {root}");
            (format!(":{TLS_IN} ssl crt {own} {verified} ssl-min-ver TLSv1.3 alpn http/1.1"), to.to_string())
        }
    };
    format!(
        "global\n  nbthread {}\n  maxconn 8192\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  \
         timeout http-keep-alive 1h\n  http-reuse always\n\
         frontend in\n  bind {bind} backlog 4096\n  use_backend next if {{ path_beg {RULED} }}\n\
         backend next\n  server next {server}\n",
        plan.workers
    )
}
