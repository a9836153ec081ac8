//! Stand-in until the branch `http` lands.
#![expect(missing_docs, reason = "stand-in")]
use crate::mesh::{ServiceName, ServicePort};
use parking_lot::Mutex;
use std::collections::HashSet;
pub enum Declared {
    Http1,
    Http2,
    Http,
    Grpc,
    Tls,
    Tcp,
    ServerFirst,
    Unknown,
}
impl Declared {
    pub fn of(port: &ServicePort) -> Self {
        match port.app_protocol.as_deref().or(port.name.split('-').next()) {
            Some("http") => Self::Http1,
            Some("grpc") => Self::Grpc,
            Some("tcp") => Self::Tcp,
            _ => Self::Unknown,
        }
    }
}
#[derive(Default)]
pub struct Learned(Mutex<HashSet<(ServiceName, u16)>>);
impl Learned {
    pub fn knows_http(&self, key: &(ServiceName, u16)) -> bool {
        self.0.lock().contains(key)
    }
    pub fn is_http(&self, key: (ServiceName, u16)) {
        self.0.lock().insert(key);
    }
}
pub enum Sniffed {
    More,
    Http1,
    Http2,
    Tls { server_name: Option<String> },
    Opaque,
}
pub fn sniff(prefix: &[u8]) -> Sniffed {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if prefix.starts_with(PREFACE) {
        return Sniffed::Http2;
    }
    if PREFACE.starts_with(prefix) {
        return Sniffed::More;
    }
    for m in ["GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE "] {
        if prefix.starts_with(m.as_bytes()) {
            return Sniffed::Http1;
        }
        if m.as_bytes().starts_with(prefix) {
            return Sniffed::More;
        }
    }
    Sniffed::Opaque
}
