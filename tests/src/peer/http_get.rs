//! `heddle-peer http-get`: one GET over TCP or a unix socket.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::dial::Dial;
use super::report::HttpReport;
use crate::http;

#[derive(Args)]
pub(super) struct HttpGet {
    /// http://ADDRESS:PORT/PATH, with an IP address.
    url: String,
    /// Send it to this unix socket instead of the address.
    #[arg(long)]
    unix: Option<PathBuf>,
    #[command(flatten)]
    dial: Dial,
}

pub(super) fn run(get: &HttpGet) -> Result<HttpReport> {
    let rest = get.url.strip_prefix("http://").context("the URL does not begin with http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let response = match &get.unix {
        Some(socket) => {
            let stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            http::get(stream, host, path)?
        }
        None => {
            let address: SocketAddr = host.parse().with_context(|| format!("`{host}` is not address:port"))?;
            let stream = get.dial.connect(address).with_context(|| format!("connecting to {address}"))?;
            http::get(stream, host, path)?
        }
    };
    Ok(HttpReport { status: response.status, body: response.text() })
}
