//! What policies read of a request's head, as the data path reads it: the path in normal form, and whom it is for.

use std::net::SocketAddr;

use http::{Method, uri::Authority};

use crate::{
    observe::{CUT, FlowRequest},
    target::RequestTarget,
};

/// The head of a recorded request.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) path: String,
    pub(super) host: String,
}

impl<'a> Head<'a> {
    /// Reads it; or why no policy ever reads it. `to` is the server's end.
    pub(super) fn of(request: &'a FlowRequest, to: SocketAddr) -> Result<Self, String> {
        let path = match request.path.as_str() {
            // It has none, and is judged as if it had the root.
            _ if request.method == Method::CONNECT.as_str() => "/".to_owned(),
            // Nobody looks at the half of a path: of what asks for paths, only the better and the worse case are judged.
            cut if cut.ends_with(CUT) => "/".to_owned(),
            path => match RequestTarget::parse(path) {
                Ok(target) => target.path().to_owned(),
                Err(bad) => return Err(format!("it is answered 400, whatever policies say: {bad}")),
            },
        };
        let host = match request.host.as_deref() {
            // One of HTTP/1.0, which is for the address that was dialled.
            None | Some("") => to.to_string(),
            Some(cut) if cut.ends_with(CUT) => return Err("its host is not recorded as a whole".to_owned()),
            Some(host) => match Authority::try_from(host) {
                Ok(authority) if !host.contains('@') => authority.to_string(),
                Ok(_) | Err(_) => {
                    return Err("it is answered 400, whatever policies say: its host is none".to_owned());
                }
            },
        };
        Ok(Self { method: &request.method, path, host })
    }
}
