//! A client without a certificate: a proxy that serves it does not do what the mesh does.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certificates::Certificates;
use super::{ANSWER_WITHIN, ASKED, NAME};
use crate::bed::NetNs;
use crate::http;

/// Fails if it gets what it asks for.
pub(super) fn is_refused(from: &NetNs, to: SocketAddr, certificates: &Certificates) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.root).context("reading the peers' root")?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME)?)?;
    let stream = from.run(|| {
        let stream = TcpStream::connect_timeout(&to, ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(stream)
    })?;
    match http::get(StreamOwned::new(tls, stream), NAME, ASKED) {
        Ok(answer) if answer.status == 200 => bail!("the server's proxy serves clients without a certificate"),
        // An alert, or an answer that says no.
        Ok(_) | Err(_) => Ok(()),
    }
}
