//! A client that hides nothing: one TLS connection, requests as text, answers as the bytes that arrive.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

pub(super) struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    authorization: String,
    read: Vec<u8>,
}

impl Raw {
    pub(super) fn connect(address: SocketAddr, ca_pem: &str, token: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), ServerName::from(address.ip()))?;
        let tcp = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { stream: StreamOwned::new(tls, tcp), authorization: format!("Bearer {token}"), read: Vec::new() })
    }

    /// With another patience than 5 s.
    pub(super) fn within(self, time: Duration) -> Result<Self> {
        self.stream.sock.set_read_timeout(Some(time))?;
        Ok(self)
    }

    /// Without a token.
    pub(super) fn anonymous(mut self) -> Self {
        self.authorization = String::new();
        self
    }

    pub(super) fn send(&mut self, method: &str, path: &str, content_type: &str, body: &str) -> Result<()> {
        self.send_accepting(method, path, content_type, body, "*/*")
    }

    pub(super) fn send_accepting(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
        accept: &str,
    ) -> Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nuser-agent: raw/1\r\naccept: {accept}\r\n");
        if !self.authorization.is_empty() {
            head.push_str(&format!("authorization: {}\r\n", self.authorization));
        }
        if !content_type.is_empty() {
            head.push_str(&format!("content-type: {content_type}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        Ok(self.stream.write_all(head.as_bytes())?)
    }

    /// A whole answer that says its length: status, head, body.
    pub(super) fn answer(&mut self) -> Result<(u16, String, String)> {
        let (status, head) = self.head()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no content-length")?.parse()?;
        while self.read.len() < length {
            ensure!(self.more()? > 0, "the connection ended in the body");
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        Ok((status, head, String::from_utf8(body)?))
    }

    /// The head of an answer: the status, and all of it in lower case.
    pub(super) fn head(&mut self) -> Result<(u16, String)> {
        let end = self.until(b"\r\n\r\n")?;
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head)?.to_lowercase();
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, head))
    }

    /// The next chunk of a body; empty at its end.
    pub(super) fn chunk(&mut self) -> Result<Vec<u8>> {
        let end = self.until(b"\r\n")?;
        let line: Vec<u8> = self.read.drain(..end).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
        while self.read.len() < size + 2 {
            ensure!(self.more()? > 0, "the connection ended in a chunk");
        }
        let chunk = self.read.drain(..size).collect();
        self.read.drain(..2);
        Ok(chunk)
    }

    /// The next event of a watch, from as many chunks as it takes; how many those were, and its type and object.
    pub(super) fn event(&mut self) -> Result<(usize, String, Value)> {
        let (mut chunks, mut line) = (0, Vec::new());
        while line.last() != Some(&b'\n') {
            let chunk = self.chunk()?;
            ensure!(!chunk.is_empty(), "the body ended");
            chunks += 1;
            line.extend(chunk);
        }
        let mut event: Value = serde_json::from_slice(&line)?;
        Ok((chunks, event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take()))
    }

    /// Reads until the connection ends; the error kind if it did not end in an orderly way.
    pub(super) fn end(&mut self) -> Result<Option<io::ErrorKind>> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            ensure!(Instant::now() < deadline, "the connection stays open");
            match self.more() {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Ok(Some(error.kind())),
            }
        }
    }

    /// What arrived and was not taken yet.
    pub(super) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Whether nothing arrives for a while.
    pub(super) fn is_silent_for(&mut self, time: Duration) -> Result<bool> {
        self.stream.sock.set_read_timeout(Some(time))?;
        let silent = self.more().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream.sock.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(silent)
    }

    fn until(&mut self, mark: &[u8]) -> Result<usize> {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark) {
                return Ok(at + mark.len());
            }
            ensure!(self.more()? > 0, "the connection ended before {mark:?}");
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        self.read.extend(&buffer[..count]);
        Ok(count)
    }
}
