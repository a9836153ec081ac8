//! Real handshakes over in-memory streams: who is accepted, who is not, and what each side is told.

use std::{io, sync::Arc, time::Duration};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, HandshakeKind, NamedGroup, RootCertStore,
    SupportedProtocolVersion, client::WantsClientCert, crypto::aws_lc_rs::default_provider, pki_types::ServerName,
    sign::SingleCertAndKey, version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::{Authority, good, id, self_signed};
use crate::{
    identify::{
        Clock, HandshakeError, Identity, IssueError, Issuer, Refusal, SignedChain, TlsFacts, TlsSettings, TrustDomains,
        VerifiedPeer, accept, connect, issue, refusal_by_peer,
        tls::provider,
        verify::{ClientVerifier, ServerVerifier},
    },
    mesh::SpiffeId,
};

const CLIENT: &str = "spiffe://mesh.example/ns/shop/sa/web";
const SERVER: &str = "spiffe://mesh.example/ns/shop/sa/cart";
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
    assert_eq!(client_facts, TlsFacts { version: "TLSv1.3", group: "X25519MLKEM768" });
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
    let config = client.client_config(&[id(SERVER)]);
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

/// What is wrong with a certificate, what we say, and what the peer is told.
struct Bad {
    what: &'static str,
    key: Arc<SingleCertAndKey>,
    said: fn(&HandshakeError) -> bool,
    told: AlertDescription,
}

/// Certificates that neither a server nor a client may accept; `name` would be right.
fn bad_certificates(ca: &Authority, name: &str) -> Vec<Bad> {
    let mut cases = vec![];
    let mut add = |what, key, said, told| cases.push(Bad { what, key, said, told });
    let hour = time::Duration::hours(1);

    let mut params = good(&[name]);
    (params.not_before, params.not_after) = (params.not_before - hour, params.not_before - time::Duration::minutes(1));
    add(
        "expired",
        ca.key_with(&params),
        |e| matches!(e, HandshakeError::NotValidNow(_)),
        AlertDescription::CertificateExpired,
    );
    let mut params = good(&[name]);
    (params.not_before, params.not_after) = (params.not_before + hour, params.not_after + hour);
    add(
        "not yet valid",
        ca.key_with(&params),
        |e| matches!(e, HandshakeError::NotValidNow(_)),
        AlertDescription::CertificateExpired,
    );

    let unknown = |e: &HandshakeError| matches!(e, HandshakeError::UnknownIssuer);
    add("self-signed", self_signed(&good(&[name])), unknown, AlertDescription::UnknownCA);
    add("another root's", Authority::new().key_with(&good(&[name])), unknown, AlertDescription::UnknownCA);

    let mut params = good(&[name]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let purpose =
        |e: &HandshakeError| matches!(e, HandshakeError::Certificate(CertificateError::InvalidPurposeContext { .. }));
    add("wrong purpose", ca.key_with(&params), purpose, AlertDescription::UnsupportedCertificate);

    let foreign = |e: &HandshakeError| {
        matches!(e, HandshakeError::Identity(Refusal::TrustDomain { found, expected, aliases: 1 })
            if found.trust_domain().as_str() == "evil.example" && expected.as_str() == "mesh.example")
    };
    let params = good(&["spiffe://evil.example/ns/shop/sa/web"]);
    add("foreign trust domain", ca.key_with(&params), foreign, AlertDescription::CertificateUnknown);

    let two = |e: &HandshakeError| matches!(e, HandshakeError::Identity(Refusal::UriNames { found: 2 }));
    add("two URIs", ca.key_with(&good(&[name, CLIENT])), two, AlertDescription::CertificateUnknown);
    add("the same URI twice", ca.key_with(&good(&[name, name])), two, AlertDescription::CertificateUnknown);
    let none = |e: &HandshakeError| matches!(e, HandshakeError::Identity(Refusal::UriNames { found: 0 }));
    let mut params = good(&[]);
    add("no names", ca.key_with(&params), none, AlertDescription::CertificateUnknown);
    params.subject_alt_names =
        vec![SanType::DnsName(name.replace("spiffe://", "").replace('/', ".").try_into().unwrap())];
    add("a DNS name only", ca.key_with(&params), none, AlertDescription::CertificateUnknown);

    let no_identity = |e: &HandshakeError| matches!(e, HandshakeError::Identity(Refusal::NotIdentity(_)));
    for odd in [
        "https://mesh.example/ns/shop/sa/web",
        "SPIFFE://mesh.example/ns/shop/sa/web",
        "spiffe://MESH.example/ns/shop/sa/web",
        "spiffe://mesh.example/ns/shop/sa/Web",
        "spiffe://mesh.example/ns/shop/sa/*",
        "spiffe://mesh.example/ns/shop/sa/..",
        "spiffe://mesh.example/ns/shop/sa/web/",
        "spiffe://mesh.example/ns/shop/sa/web?x=1",
        "spiffe://mesh.example/ns//sa/web",
        "spiffe://mesh.example:15008/ns/shop/sa/web",
        "spiffe://user@mesh.example/ns/shop/sa/web",
        "spiffe://mesh.example",
        "",
    ] {
        add(odd, ca.key_with(&good(&[odd])), no_identity, AlertDescription::CertificateUnknown);
    }
    cases
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
        let verifier = ClientVerifier::new(&settings(), roots(&ca)).unwrap();
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
async fn two_roots_are_trusted_while_one_is_being_replaced() {
    let old = Authority::new();
    let new = Authority::new().trusting(&old);
    let old = old.trusting(&new);
    let (client, server) = (identity(&old, CLIENT).await, identity(&new, SERVER).await);
    let (accepted, connected) = shake(&client, &server).await;
    assert_eq!(accepted.unwrap().0.id(), &id(CLIENT));
    assert_eq!(connected.unwrap().0.id(), &id(SERVER));
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

fn settings() -> TlsSettings {
    let domains = TrustDomains::new("mesh.example".parse().unwrap(), ["old.example".parse().unwrap()]);
    TlsSettings::new(domains, Clock::system())
}

async fn identity(ca: &Authority, name: &str) -> Identity {
    issue(ca, &id(name), &settings()).await.unwrap()
}

fn roots(ca: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.root_certificate()).unwrap();
    Arc::new(roots)
}

fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

type Proven = Result<(VerifiedPeer, TlsFacts), HandshakeError>;

/// Two proper agents.
async fn shake(client: &Identity, server: &Identity) -> (Proven, Proven) {
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
            Arc::new(RootCertStore::empty()),
            Arc::default(),
        ))))
}

fn client_config(key: Arc<SingleCertAndKey>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    client_builder(versions).with_client_cert_resolver(key)
}

/// What the server made of `config`, and the alert that the client saw.
async fn odd_client(
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
