//! The TLS that Heddle speaks: version, suites, groups, ALPN, and what is switched off.
//!
//! In: the clock, the trust domains and a certified key. Out: rustls configurations. Whom to accept is decided in
//! `verify.rs`; the I/O is done in `handshake.rs`.
//!
//! There are no session tickets and no resumption: a resumed session proves possession of a ticket, not of a key that a
//! CA vouches for now, so it would outlive the certificate and a revocation. Tunnels are pooled, so a full handshake is
//! rare.

use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig, SupportedCipherSuite,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
    version::TLS13,
};

use super::{clock::Clock, revocation::Revocations, verify::TrustDomains};

/// What all connections of this agent have in common. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    domains: TrustDomains,
    clock: Clock,
    provider: Arc<CryptoProvider>,
    revocations: Revocations,
}

impl TlsSettings {
    /// Accepts peers of `domains`, at the time that `clock` tells. Nobody is revoked.
    pub fn new(domains: TrustDomains, clock: Clock) -> Self {
        let provider = Arc::new(provider(aes_in_hardware()));
        Self { domains, clock, provider, revocations: Revocations::none() }
    }

    /// Refuses those who are revoked.
    #[must_use]
    pub fn with_revocations(self, revocations: Revocations) -> Self {
        Self { revocations, ..self }
    }

    /// The clock that verification goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Who is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    pub(super) fn domains(&self) -> &TrustDomains {
        &self.domains
    }

    /// The one provider, for connections to the authority too.
    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    #[cfg(test)]
    pub(super) fn with_provider(mut self, provider: CryptoProvider) -> Self {
        self.provider = Arc::new(provider);
        self
    }

    /// Fails only if the provider lacks what TLS 1.3 needs, which its tests exclude.
    pub(super) fn server_config(
        &self,
        key: Arc<SingleCertAndKey>,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), Arc::new(self.clock.clone()))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(key);
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // Records of 16 KiB, the most that TLS allows: a smaller one costs more headers and AEAD calls per byte.
        config.max_fragment_size = None;
        Ok(config)
    }

    /// A server whose clients prove by other means who they are; `heddle ca` is one. Fails as [`Self::server_config`] does.
    pub(crate) fn anonymous_server_config(
        &self,
        certificates: Arc<dyn ResolvesServerCert>,
    ) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), Arc::new(self.clock.clone()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Fails as [`Self::server_config`] does.
    pub(super) fn client_config(
        &self,
        key: Arc<SingleCertAndKey>,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_details(self.provider.clone(), Arc::new(self.clock.clone()))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(key);
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.max_fragment_size = None;
        Ok(config)
    }
}

/// The one provider of cryptography, narrowed. ChaCha20-Poly1305 goes first only where AES has no instructions: there
/// it is about three times as fast and needs no table look-ups. A server follows the client's order.
pub(super) fn provider(aes_in_hardware: bool) -> CryptoProvider {
    use aws_lc_rs::{cipher_suite as suite, kx_group};
    let aes = [suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_AES_128_GCM_SHA256];
    let chacha = [suite::TLS13_CHACHA20_POLY1305_SHA256];
    let cipher_suites: Vec<SupportedCipherSuite> =
        if aes_in_hardware { [&aes[..], &chacha].concat() } else { [&chacha[..], &aes].concat() };
    CryptoProvider {
        cipher_suites,
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    }
}

#[cfg(target_arch = "x86_64")]
fn aes_in_hardware() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn aes_in_hardware() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn aes_in_hardware() -> bool {
    false
}

/// HTTP/2, which HBONE is.
const ALPN_H2: &[u8] = b"h2";
