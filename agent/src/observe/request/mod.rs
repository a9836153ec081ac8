//! Stand-in until the branch `observe` lands.
#![expect(missing_docs, reason = "stand-in")]
use std::{net::SocketAddr, sync::Arc};
use http::{Method, StatusCode};
use super::{ByteCounts, Failure, Observer, Party, Reporter, Transport};
use crate::mesh::ServiceName;
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestProtocol { Http1, Http2, Grpc }
pub struct RequestStart { pub reporter: Reporter, pub client: Party, pub original_dst: SocketAddr, pub protocol: RequestProtocol, pub method: Method, pub path: String, pub host: String }
pub struct RequestRecord { bytes: Arc<ByteCounts> }
impl Observer { pub fn request(&self, _start: RequestStart) -> RequestRecord { RequestRecord { bytes: Arc::default() } } }
#[expect(clippy::needless_pass_by_value, reason = "stand-in")]
impl RequestRecord {
    pub fn set_service(&mut self, _: ServiceName) {}
    pub fn set_server(&mut self, _: Party) {}
    pub fn set_transport(&mut self, _: Transport) {}
    pub fn set_tries(&mut self, _: u32) {}
    pub fn set_route(&mut self, _: String) {}
    pub fn set_remarks(&mut self, _: Vec<String>) {}
    pub fn set_trace(&mut self, _: Option<String>, _: Option<String>) {}
    pub fn bytes(&self) -> Arc<ByteCounts> { Arc::clone(&self.bytes) }
    pub fn responded(&mut self, _: StatusCode) {}
    pub fn grpc_status(&mut self, _: u32) {}
    pub fn finish(self, result: Result<(), Failure>) { if let Err(f) = result { tracing::debug!(flag = %f.flag, error = %f.error, "request failed"); } }
}
