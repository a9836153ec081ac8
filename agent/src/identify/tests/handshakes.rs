//! Real handshakes over in-memory streams: who is accepted, who is not, and what each side is told.

use std::{io, sync::Arc, time::Duration};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, HandshakeKind, NamedGroup, SupportedProtocolVersion,
    client::WantsClientCert, crypto::aws_lc_rs::default_provider, pki_types::ServerName, sign::SingleCertAndKey,
    version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    authority::{Authority, good, id, named_authority},
    odd::{Bad, bad_certificates},
};
use crate::{
    identify::{
        Clock, CrlFile, HandshakeError, Identity, IssueError, Issuer, Refusal, Revocations, SignedChain, TlsFacts,
        TlsSettings, TrustDomains, VerifiedPeer, accept, connect, issue, refusal_by_peer,
        roots::Roots,
        tls::provider,
        verify::{ClientVerifier, Proof, ServerVerifier},
    },
    mesh::SpiffeId,
    observe::RootName,
};

pub(super) const CLIENT: &str = "spiffe://mesh.example/ns/shop/sa/web";
pub(super) const SERVER: &str = "spiffe://mesh.example/ns/shop/sa/cart";
const ALIAS: &str = "spiffe://old.example/ns/shop/sa/web";
const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn both_sides_prove_who_they_are_with_a_post_quantum_group() {
    let ca = Authority::new();
    let (client, server) = (identity(&ca, CLIENT).await, identity(&ca, SERVER).await);
    let (ours, theirs) = duplex(64 * 1024);
    let dialled = [id("spiffe://mesh.example/ns/shop/sa/other"), id(SERVER)];
    let (accepted, connected) = tokio::join!(accept(&server, ours, WITHIN), connect(&client, &dialled, theirs, WITHIN));
    let (mut accepted, peer_of_server, server_facts) = accepted.unwrap();
    let (mut connected, peer_of_client, client_facts) = connected.unwrap();
    assert_eq!(peer_of_server.id(), &id(CLIENT));
    assert_eq!(peer_of_client.id(), &id(SERVER));
    let root = RootName::of(&ca.root_certificate());
    assert_eq!(client_facts, TlsFacts { version: "TLSv1.3", group: "X25519MLKEM768", root });
    assert_eq!(server_facts, client_facts);
    assert_eq!(connected.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(accepted.get_ref().1.server_name(), None);

    let sent = vec![7_u8; 1 << 20];
    let mut received = vec![0; sent.len()];
    let (written, read) = tokio::join!(
        async {
            connected.write_all(&sent).await?;
            connected.flush().await
        },
        accepted.read_exact(&mut received)
    );
    written.unwrap();
    read.unwrap();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn nothing_is_resumed() {
    let ca = Authority::new();
    let (client, server) = (identity(&ca, CLIENT).await, identity(&ca, SERVER).await);
    let config = client.client_config(&[id(SERVER)], Proof::default());
    for _ in 0..2 {
        let (ours, theirs) = duplex(64 * 1024);
        let dial = TlsConnector::from(config.clone()).connect(server_name(), theirs);
        let (accepted, connected) = tokio::join!(accept(&server, ours, WITHIN), dial);
        let (mut accepted, mut connected) = (accepted.unwrap().0, connected.unwrap());
        let mut byte = [0];
        accepted.write_all(b"x").await.unwrap();
        connected.read_exact(&mut byte).await.unwrap();
        assert_eq!(connected.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn classical_peers_are_accepted_with_their_group() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    for (group, label) in [(NamedGroup::X25519, "X25519"), (NamedGroup::secp256r1, "secp256r1")] {
        let mut narrow = provider(true);
        narrow.kx_groups.retain(|offered| offered.name() == group);
        let client = issue(&ca, &id(CLIENT), &settings().with_provider(narrow)).await.unwrap();
        let (accepted, connected) = shake(&client, &server).await;
        assert_eq!(accepted.unwrap().1.group, label);
        assert_eq!(connected.unwrap().1.group, label);
    }
}

#[test]
fn groups_and_suites_are_offered_in_the_documented_order() {
    use rustls::CipherSuite as C;
    let suites = |aes| provider(aes).cipher_suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>();
    let (aes256, aes128, chacha) =
        (C::TLS13_AES_256_GCM_SHA384, C::TLS13_AES_128_GCM_SHA256, C::TLS13_CHACHA20_POLY1305_SHA256);
    assert_eq!(suites(true), [aes256, aes128, chacha]);
    assert_eq!(suites(false), [chacha, aes256, aes128]);
    let groups: Vec<_> = provider(true).kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1]);
}

#[tokio::test]
async fn names_beside_the_uri_and_aliases_of_the_domain_are_accepted() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let mut with_dns = good(&[CLIENT]);
    with_dns.subject_alt_names.push(SanType::DnsName("web.shop.svc".try_into().unwrap()));
    for (params, expected) in [(with_dns, CLIENT), (good(&[ALIAS]), ALIAS)] {
        let (accepted, alert) = odd_client(&server, &client_config(ca.key_with(&params), &[&version::TLS13])).await;
        assert_eq!(accepted.unwrap().id(), &id(expected));
        assert_eq!(alert, None);
    }
}

#[tokio::test]
async fn bad_clients_are_refused_and_told_why() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let mut cases = bad_certificates(&ca, CLIENT);
    let mut server_only = good(&[CLIENT]);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    cases.push(Bad {
        what: "a server's certificate",
        key: ca.key_with(&server_only),
        said: |e| matches!(e, HandshakeError::Certificate(CertificateError::InvalidPurposeContext { .. })),
        told: AlertDescription::UnsupportedCertificate,
    });
    for Bad { what, key, said, told } in cases {
        let (accepted, alert) = odd_client(&server, &client_config(key, &[&version::TLS13])).await;
        let error = accepted.err().unwrap();
        assert!(said(&error), "{what}: {error:?}");
        assert_eq!(alert, Some(told), "{what}: {error}");
    }
}

#[tokio::test]
async fn bad_servers_are_refused_and_told_why() {
    let ca = Authority::new();
    let client = identity(&ca, CLIENT).await;
    let mut cases = bad_certificates(&ca, SERVER);
    let mut client_only = good(&[SERVER]);
    client_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    cases.push(Bad {
        what: "a client's certificate",
        key: ca.key_with(&client_only),
        said: |e| matches!(e, HandshakeError::Certificate(CertificateError::InvalidPurposeContext { .. })),
        told: AlertDescription::UnsupportedCertificate,
    });
    cases.push(Bad {
        what: "another service account",
        key: ca.key_with(&good(&["spiffe://mesh.example/ns/shop/sa/cart-2"])),
        said: |e| {
            matches!(e, HandshakeError::Identity(Refusal::Unexpected { found, expected })
                if found.service_account().as_ref() == "cart-2" && expected[..] == [id(SERVER)])
        },
        told: AlertDescription::CertificateUnknown,
    });
    for Bad { what, key, said, told } in cases {
        let verifier = ClientVerifier::new(&settings(), roots(&ca), Proof::default());
        let config = settings().server_config(key, Arc::new(verifier)).unwrap();
        let (ours, theirs) = duplex(64 * 1024);
        let dialled = [id(SERVER)];
        let (served, connected) =
            tokio::join!(TlsAcceptor::from(Arc::new(config)).accept(ours), connect(&client, &dialled, theirs, WITHIN));
        let error = connected.err().unwrap();
        assert!(said(&error), "{what}: {error:?}");
        assert_eq!(served.err().as_ref().and_then(refusal_by_peer), Some(told), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_revoked_peer_is_refused_on_either_side_and_told_so() {
    let ca = Authority::new();
    let (client, server) = (identity(&ca, CLIENT).await, identity(&ca, SERVER).await);
    let strict = |revoked: &Identity| settings().with_revocations(revocations(&ca.revoke(&[revoked])));

    let strict_server = issue(&ca, &id(SERVER), &strict(&client)).await.unwrap();
    let config = client.client_config(&[id(SERVER)], Proof::default());
    let (accepted, alert) = odd_client(&strict_server, &config).await;
    let error = accepted.err().unwrap();
    assert!(matches!(error, HandshakeError::Revoked), "{error:?}");
    assert_eq!(alert, Some(AlertDescription::CertificateRevoked));
    let another = identity(&ca, CLIENT).await;
    assert!(shake(&another, &strict_server).await.0.is_ok(), "only that certificate is revoked, and not the identity");

    let strict_client = issue(&ca, &id(CLIENT), &strict(&server)).await.unwrap();
    let (accepted, connected) = shake(&strict_client, &server).await;
    assert!(matches!(connected.err().unwrap(), HandshakeError::Revoked));
    let error = accepted.err().unwrap();
    assert!(matches!(error, HandshakeError::PeerAlert(AlertDescription::CertificateRevoked)), "{error:?}");
}

#[tokio::test]
async fn a_certificate_that_is_revoked_when_it_comes_is_not_adopted() {
    let (ca, params) = (Authority::new(), named_authority("an intermediate"));
    let below = ca.below(params);
    let list = ca.list(&[&below.serial()], time::Duration::HOUR);
    let error = issue(&below, &id(CLIENT), &settings().with_revocations(revocations(&list))).await.err().unwrap();
    assert!(matches!(&error, IssueError::Unusable { problem, .. } if problem.contains("revoked")), "{error}");
}

#[tokio::test]
async fn nobody_is_expected_of_an_empty_list() {
    let ca = Authority::new();
    let (client, server) = (identity(&ca, CLIENT).await, identity(&ca, SERVER).await);
    let (ours, theirs) = duplex(64 * 1024);
    let (_, connected) = tokio::join!(accept(&server, ours, WITHIN), connect(&client, &[], theirs, WITHIN));
    assert!(matches!(connected.err().unwrap(), HandshakeError::Identity(Refusal::Unexpected { .. })));
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let (accepted, alert) = odd_client(&server, &client_builder(&[&version::TLS13]).with_no_client_auth()).await;
    assert!(matches!(accepted.err().unwrap(), HandshakeError::NoCertificate));
    assert_eq!(alert, Some(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let config = client_config(ca.key_with(&good(&[CLIENT])), &[&version::TLS12]);
    let (accepted, alert) = odd_client(&server, &config).await;
    let error = accepted.err().unwrap();
    assert!(matches!(error, HandshakeError::Protocol(rustls::Error::PeerIncompatible(_))), "{error:?}");
    assert_eq!(alert, Some(AlertDescription::ProtocolVersion));
}

#[tokio::test]
async fn plaintext_is_refused() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let (ours, mut theirs) = duplex(64 * 1024);
    theirs.write_all(b"GET / HTTP/1.1\r\nhost: cart\r\n\r\n").await.unwrap();
    let error = accept(&server, ours, WITHIN).await.err().unwrap();
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let (ours, theirs) = duplex(64 * 1024);
    let started = tokio::time::Instant::now();
    let error = accept(&server, ours, WITHIN).await.err().unwrap();
    assert!(matches!(error, HandshakeError::TimedOut(WITHIN)), "{error:?}");
    assert_eq!(started.elapsed().as_secs(), WITHIN.as_secs());
    drop(theirs);
}

#[tokio::test]
async fn a_peer_that_goes_away_is_an_io_error() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let (ours, theirs) = duplex(64 * 1024);
    drop(theirs);
    let error = accept(&server, ours, WITHIN).await.err().unwrap();
    assert!(matches!(&error, HandshakeError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_peers_would_refuse_is_not_adopted() {
    struct Wrong(Authority, CertificateParams);
    impl Issuer for Wrong {
        fn sign<'a>(
            &'a self,
            _: &'a SpiffeId,
            request: &'a rustls::pki_types::CertificateSigningRequestDer<'static>,
        ) -> futures_util::future::BoxFuture<'a, Result<SignedChain, IssueError>> {
            Box::pin(async move {
                let mut signed = Issuer::sign(&self.0, &id(CLIENT), request).await?;
                // A chain for another key than the one in the request.
                signed.chain = self.0.key_with(&self.1).as_chain();
                Ok(signed)
            })
        }
    }
    let mut expired = good(&[CLIENT]);
    expired.not_after = expired.not_before + time::Duration::seconds(1);
    for (params, problem) in
        [(good(&[CLIENT]), "keys may not be consistent"), (good(&[SERVER]), SERVER), (expired, "expired")]
    {
        let error = issue(&Wrong(Authority::new(), params), &id(CLIENT), &settings()).await.err().unwrap();
        assert!(matches!(&error, IssueError::Unusable { problem: p, .. } if p.contains(problem)), "{error}");
    }
}

trait AsChain {
    fn as_chain(&self) -> Vec<rustls::pki_types::CertificateDer<'static>>;
}

impl AsChain for SingleCertAndKey {
    fn as_chain(&self) -> Vec<rustls::pki_types::CertificateDer<'static>> {
        use rustls::client::ResolvesClientCert;
        self.resolve(&[], &[]).unwrap().cert.clone()
    }
}

pub(super) fn settings() -> TlsSettings {
    let domains = TrustDomains::new("mesh.example".parse().unwrap(), ["old.example".parse().unwrap()]);
    TlsSettings::new(domains, Clock::system())
}

pub(super) async fn identity(ca: &Authority, name: &str) -> Identity {
    issue(ca, &id(name), &settings()).await.unwrap()
}

fn roots(ca: &Authority) -> Arc<Roots> {
    Arc::new(Roots::new(&[ca.root_certificate()]).unwrap())
}

/// The lists of a PEM text.
pub(super) fn revocations(pem: &str) -> Revocations {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    CrlFile::open(file.path()).unwrap().0
}

fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

pub(super) type Proven = Result<(VerifiedPeer, TlsFacts), HandshakeError>;

/// Two proper agents.
pub(super) async fn shake(client: &Identity, server: &Identity) -> (Proven, Proven) {
    let (ours, theirs) = duplex(64 * 1024);
    let dialled = [server.id().clone()];
    let (accepted, connected) = tokio::join!(accept(server, ours, WITHIN), connect(client, &dialled, theirs, WITHIN));
    (accepted.map(|(_, peer, facts)| (peer, facts)), connected.map(|(_, peer, facts)| (peer, facts)))
}

/// A client that takes any server for good: what an attacker would bring.
fn client_builder(
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(ServerVerifier::new(
            &settings(),
            roots(&Authority::new()),
            Arc::default(),
            Proof::default(),
        ))))
}

pub(super) fn client_config(
    key: Arc<SingleCertAndKey>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    client_builder(versions).with_client_cert_resolver(key)
}

/// What the server made of `config`, and the alert that the client saw.
pub(super) async fn odd_client(
    server: &Identity,
    config: &ClientConfig,
) -> (Result<VerifiedPeer, HandshakeError>, Option<AlertDescription>) {
    let (ours, theirs) = duplex(64 * 1024);
    let serve = async {
        let (mut stream, peer, _) = accept(server, ours, WITHIN).await?;
        stream.shutdown().await?;
        Ok(peer)
    };
    let (served, dialled) = tokio::join!(serve, dial_and_read(config, theirs));
    (served, dialled.err().as_ref().and_then(refusal_by_peer))
}

/// A client of TLS 1.3 learns at its first read whether its certificate was accepted.
async fn dial_and_read(config: &ClientConfig, stream: DuplexStream) -> io::Result<usize> {
    let mut stream = TlsConnector::from(Arc::new(config.clone())).connect(server_name(), stream).await?;
    stream.read(&mut [0]).await
}

#[derive(Debug)]
struct Gullible(ServerVerifier);

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
