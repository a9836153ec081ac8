//! The page at `/`: what this node does, for a browser. Everything that it needs comes from the agent, and nothing of it is
//! code of others.
//!
//! The page asks `/traffic`, `/tap` and `/status` as any other client does. Its policy lets it ask nobody else, run no script
//! that is not its own, and be put in no frame.

use axum::{
    Router,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{answer::accepts, routes::Sources};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page is made of, below `/page/`.
const PARTS: [(&str, &str, &str); 12] = [
    ("/page/style.css", CSS, include_str!("style.css")),
    ("/page/main.js", SCRIPT, include_str!("main.js")),
    ("/page/traffic.js", SCRIPT, include_str!("traffic.js")),
    ("/page/sums.js", SCRIPT, include_str!("sums.js")),
    ("/page/format.js", SCRIPT, include_str!("format.js")),
    ("/page/columns.js", SCRIPT, include_str!("columns.js")),
    ("/page/table.js", SCRIPT, include_str!("table.js")),
    ("/page/graph.js", SCRIPT, include_str!("graph.js")),
    ("/page/layout.js", SCRIPT, include_str!("layout.js")),
    ("/page/status.js", SCRIPT, include_str!("status.js")),
    ("/page/tap.js", SCRIPT, include_str!("tap.js")),
    ("/page/theme.js", SCRIPT, include_str!("theme.js")),
];

/// Adds the parts of the page. What is at `/` itself depends on who asks: see [`wanted_by`].
pub(super) fn parts(router: Router<Sources>) -> Router<Sources> {
    PARTS
        .into_iter()
        .fold(router, |router, (path, kind, text)| router.route(path, get(move || async move { part(kind, text) })))
}

/// Whether a client wants to see the page: browsers say so, and programs such as curl do not.
pub(super) fn wanted_by(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

/// The page itself.
pub(super) fn index() -> Response {
    part(HTML, include_str!("index.html"))
}

fn part(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next build may differ, and the agent is near.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
