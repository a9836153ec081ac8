//! Certificates that are odd: one table of what nobody may accept, and bytes that are no certificates at all.

use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, SanType};
use rustls::{
    AlertDescription, CertificateError,
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
    sign::SingleCertAndKey,
    version,
};

use super::{
    authority::{Authority, authority, good, id, named_authority, self_signed},
    handshakes::{CLIENT, SERVER, client_config, identity, odd_client, settings},
};
use crate::identify::{
    HandshakeError, Refusal,
    roots::Roots,
    verify::{ClientVerifier, Proof, ServerVerifier},
};

/// What is wrong with a certificate, what we say, and what the peer is told.
pub(super) struct Bad {
    pub(super) what: &'static str,
    pub(super) key: Arc<SingleCertAndKey>,
    pub(super) said: fn(&HandshakeError) -> bool,
    pub(super) told: AlertDescription,
}

/// Certificates that neither a server nor a client may accept; `name` would be right.
pub(super) fn bad_certificates(ca: &Authority, name: &'static str) -> Vec<Bad> {
    [bad_chains(ca, name), bad_purposes(ca, name), bad_names(ca, name)].into_iter().flatten().collect()
}

fn bad_chains(ca: &Authority, name: &str) -> Vec<Bad> {
    let mut cases = vec![];
    let mut add = |what, key, said, told| cases.push(Bad { what, key, said, told });
    let hour = time::Duration::hours(1);
    let not_now: fn(&HandshakeError) -> bool = |e| matches!(e, HandshakeError::NotValidNow(_));

    let mut params = good(&[name]);
    (params.not_before, params.not_after) = (params.not_before - hour, params.not_before - time::Duration::minutes(1));
    add("expired", ca.key_with(&params), not_now, AlertDescription::CertificateExpired);
    let mut params = good(&[name]);
    (params.not_before, params.not_after) = (params.not_before + hour, params.not_after + hour);
    add("not yet valid", ca.key_with(&params), not_now, AlertDescription::CertificateExpired);
    let mut params = named_authority("expired");
    params.not_after = time::OffsetDateTime::now_utc() - hour;
    add(
        "an expired intermediate",
        ca.below(params).key_with(&good(&[name])),
        not_now,
        AlertDescription::CertificateExpired,
    );

    let unknown = |e: &HandshakeError| matches!(e, HandshakeError::UnknownIssuer);
    add("self-signed", self_signed(&good(&[name])), unknown, AlertDescription::UnknownCA);
    add("another root's", Authority::new().key_with(&good(&[name])), unknown, AlertDescription::UnknownCA);
    let elsewhere = Authority::new().below(named_authority("elsewhere"));
    add("another root's intermediate", elsewhere.key_with(&good(&[name])), unknown, AlertDescription::UnknownCA);

    let said = |e: &HandshakeError| is_chain(e, "EndEntityUsedAsCa");
    let mut params = named_authority("a workload");
    params.is_ca = IsCa::ExplicitNoCa;
    add("signed by a workload", ca.below(params).key_with(&good(&[name])), said, AlertDescription::CertificateUnknown);
    let said = |e: &HandshakeError| is_chain(e, "PathLenConstraintViolated");
    let mut params = named_authority("the last");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let too_low = ca.below(params).below(named_authority("one too many"));
    add("below an authority of leaves", too_low.key_with(&good(&[name])), said, AlertDescription::CertificateUnknown);
    let said = |e: &HandshakeError| is_chain(e, "MaximumPathDepthExceeded");
    let mut long = ca.below(named_authority("0"));
    for n in 1..9 {
        long = long.below(named_authority(&n.to_string()));
    }
    add("nine intermediates", long.key_with(&good(&[name])), said, AlertDescription::CertificateUnknown);
    let said = |e: &HandshakeError| is_chain(e, "NameConstraintViolation");
    let mut params = named_authority("constrained");
    params.custom_extensions.push(only_for_domain(b"other.example"));
    add(
        "of a constrained authority",
        ca.below(params).key_with(&good(&[name])),
        said,
        AlertDescription::CertificateUnknown,
    );
    let said = |e: &HandshakeError| is_chain(e, "UnsupportedCriticalExtension");
    let mut params = good(&[name]);
    let mut unknown_extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    unknown_extension.set_criticality(true);
    params.custom_extensions.push(unknown_extension);
    add("a critical extension that nobody knows", ca.key_with(&params), said, AlertDescription::CertificateUnknown);
    cases
}

fn is_chain(error: &HandshakeError, problem: &str) -> bool {
    matches!(error, HandshakeError::Certificate(CertificateError::Other(other)) if format!("{:?}", other.0) == problem)
}

/// RFC 5280 4.2.1.10: a permitted subtree with a URI's host. Each length is below 128, and so one byte.
fn only_for_domain(host: &[u8]) -> CustomExtension {
    let wrap = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 30], wrap(0x30, &wrap(0xa0, &wrap(0x30, &wrap(0x86, host)))))
}

fn bad_purposes(ca: &Authority, name: &str) -> Vec<Bad> {
    let mut cases = vec![];
    let mut add = |what, key, said, told| cases.push(Bad { what, key, said, told });
    let mut params = good(&[name]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let purpose =
        |e: &HandshakeError| matches!(e, HandshakeError::Certificate(CertificateError::InvalidPurposeContext { .. }));
    add("wrong purpose", ca.key_with(&params), purpose, AlertDescription::UnsupportedCertificate);
    let mut params = good(&[name]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let said = |e: &HandshakeError| is_chain(e, "CaUsedAsEndEntity");
    add("an authority's certificate", ca.key_with(&params), said, AlertDescription::CertificateUnknown);
    cases
}

fn bad_names(ca: &Authority, name: &'static str) -> Vec<Bad> {
    let mut cases = vec![];
    let mut add = |what, key, said| cases.push(Bad { what, key, said, told: AlertDescription::CertificateUnknown });
    let foreign = |e: &HandshakeError| {
        matches!(e, HandshakeError::Identity(Refusal::TrustDomain { found, expected, aliases: 1 })
            if found.trust_domain().as_str() == "evil.example" && expected.as_str() == "mesh.example")
    };
    add("foreign trust domain", ca.key_with(&good(&["spiffe://evil.example/ns/shop/sa/web"])), foreign);

    let two = |e: &HandshakeError| matches!(e, HandshakeError::Identity(Refusal::UriNames { found: 2 }));
    add("two URIs", ca.key_with(&good(&[name, "spiffe://mesh.example/ns/shop/sa/other"])), two);
    add("the same URI twice", ca.key_with(&good(&[name, name])), two);
    add("a web page beside the identity", ca.key_with(&good(&["https://mesh.example/", name])), two);
    let none = |e: &HandshakeError| matches!(e, HandshakeError::Identity(Refusal::UriNames { found: 0 }));
    add("no names", ca.key_with(&good(&[])), none);
    let as_dns = name.replace("spiffe://", "").replace('/', ".");
    for (what, other) in [
        ("a DNS name only", SanType::DnsName(as_dns.try_into().unwrap())),
        ("a DNS name that reads like the identity", SanType::DnsName(name.try_into().unwrap())),
        ("an address only", SanType::IpAddress("10.0.0.1".parse().unwrap())),
        ("a mail address only", SanType::Rfc822Name(name.try_into().unwrap())),
    ] {
        let mut params = good(&[]);
        params.subject_alt_names = vec![other];
        add(what, ca.key_with(&params), none);
    }
    let mut params = good(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    add("the identity as common name only", ca.key_with(&params), none);

    let no_identity = |e: &HandshakeError| matches!(e, HandshakeError::Identity(Refusal::NotIdentity(_)));
    let endless: &'static str = Box::leak(format!("spiffe://mesh.example/ns/shop/sa/{}", "a".repeat(254)).into());
    let long_domain: &'static str = Box::leak(format!("spiffe://{}/ns/shop/sa/web", "a".repeat(256)).into());
    for odd in [
        "https://mesh.example/ns/shop/sa/web",
        "SPIFFE://mesh.example/ns/shop/sa/web",
        "Spiffe://mesh.example/ns/shop/sa/web",
        " spiffe://mesh.example/ns/shop/sa/web",
        "spiffe:/mesh.example/ns/shop/sa/web",
        "spiffe:mesh.example/ns/shop/sa/web",
        "//mesh.example/ns/shop/sa/web",
        "spiffe://MESH.example/ns/shop/sa/web",
        "spiffe://mesh.example/NS/shop/sa/web",
        "spiffe://mesh.example/ns/Shop/sa/web",
        "spiffe://mesh.example/ns/shop/sa/Web",
        "spiffe://mesh.example/ns/shop/sa/*",
        "spiffe://*/ns/shop/sa/web",
        "spiffe://mesh.example/ns/*/sa/web",
        "spiffe://mesh.example/ns/shop/sa/..",
        "spiffe://mesh.example/ns/./sa/web",
        "spiffe://mesh.example/ns/shop/sa/web/",
        "spiffe://mesh.example/ns/shop/sa/web/more",
        "spiffe://mesh.example/./ns/shop/sa/web",
        "spiffe://mesh.example/ns/shop/sa/web?x=1",
        "spiffe://mesh.example/ns/shop/sa/web#x",
        "spiffe://mesh.example?/ns/shop/sa/web",
        "spiffe://mesh.example/ns/shop/sa/w%65b",
        "spiffe://mesh%2eexample/ns/shop/sa/web",
        "spiffe://mesh.example/ns/shop%2fsa/web",
        "spiffe://mesh.example/ns/shop/sa/web\0",
        "spiffe://mesh.example\0.evil.example/ns/shop/sa/web",
        "spiffe://mesh.example/ns/shop/sa/web\n",
        "spiffe://mesh.example/ns/shop/sa/",
        "spiffe://mesh.example/ns//sa/web",
        "spiffe://mesh.example:15008/ns/shop/sa/web",
        "spiffe://user@mesh.example/ns/shop/sa/web",
        "spiffe:///ns/shop/sa/web",
        "spiffe://mesh.example",
        "spiffe://mesh.example/",
        "spiffe://",
        "",
        endless,
        long_domain,
    ] {
        add(odd, ca.key_with(&good(&[odd])), no_identity);
    }
    cases
}

#[tokio::test]
async fn chains_of_up_to_six_intermediates_and_long_certificates_are_accepted() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let mut cases = vec![];
    let mut below = ca.below(named_authority("0"));
    for n in 1..6 {
        cases.push(below.key_with(&good(&[CLIENT])));
        below = below.below(named_authority(&n.to_string()));
    }
    cases.push(below.key_with(&good(&[CLIENT])));
    let mut long = good(&[CLIENT]);
    long.subject_alt_names.extend((0..2000).map(|n| SanType::DnsName(format!("n{n}.shop").try_into().unwrap())));
    cases.push(ca.key_with(&long));
    let mut no_purpose = good(&[CLIENT]);
    no_purpose.extended_key_usages.clear();
    cases.push(ca.key_with(&no_purpose));
    let mut constrained = authority();
    constrained.distinguished_name.push(DnType::CommonName, "constrained in what does not matter");
    constrained.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("shop".to_owned())],
        excluded_subtrees: vec![],
    });
    cases.push(ca.below(constrained).key_with(&good(&[CLIENT])));
    for (index, key) in cases.into_iter().enumerate() {
        let (accepted, _) = odd_client(&server, &client_config(key, &[&version::TLS13])).await;
        assert_eq!(
            accepted.map(|peer| peer.id().to_string()).map_err(|e| format!("{index}: {e}")),
            Ok(CLIENT.to_owned())
        );
    }
}

/// It is refused before all of it was read, so that the client may not live to see an alert.
#[tokio::test]
async fn a_certificate_longer_than_any_handshake_message_is_refused() {
    let ca = Authority::new();
    let server = identity(&ca, SERVER).await;
    let mut params = good(&[CLIENT]);
    params.subject_alt_names.extend((0..8000).map(|n| SanType::DnsName(format!("n{n}.shop").try_into().unwrap())));
    let (accepted, _) = odd_client(&server, &client_config(ca.key_with(&params), &[&version::TLS13])).await;
    let error = accepted.err().unwrap();
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error:?}");
}

/// A good certificate of a root that is trusted.
fn trusted_leaf() -> (Arc<Roots>, Vec<u8>) {
    let ca = Authority::new();
    let roots = Arc::new(Roots::new(&[ca.root_certificate()]).unwrap());
    let key = ca.key_with(&good(&[CLIENT]));
    (roots, key.as_chain()[0].to_vec())
}

trait AsChain {
    fn as_chain(&self) -> Vec<CertificateDer<'static>>;
}

impl AsChain for SingleCertAndKey {
    fn as_chain(&self) -> Vec<CertificateDer<'static>> {
        use rustls::client::ResolvesClientCert;
        self.resolve(&[], &[]).unwrap().cert.clone()
    }
}

fn is_accepted(roots: &Arc<Roots>, leaf: &[u8], intermediate: &[u8]) -> bool {
    let (leaf, intermediate) = (CertificateDer::from(leaf), [CertificateDer::from(intermediate)]);
    let now = UnixTime::now();
    let client = ClientVerifier::new(&settings(), roots.clone(), Proof::default());
    let server = ServerVerifier::new(&settings(), roots.clone(), [id(CLIENT)].into(), Proof::default());
    let by_server = client.verify_client_cert(&leaf, &intermediate, now).is_ok();
    assert_eq!(server.verify(&leaf, &intermediate, now).is_ok(), by_server);
    by_server
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bytes_that_are_no_certificate_are_refused_without_a_panic(
        leaf in proptest::collection::vec(any::<u8>(), 0..300),
        intermediate in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (roots, good) = trusted_leaf();
        prop_assert!(!is_accepted(&roots, &leaf, &intermediate));
        prop_assert!(is_accepted(&roots, &good, &intermediate), "what is not needed does no harm");
    }

    /// All that counts is under the signature, but for the signature's own encoding.
    #[test]
    fn a_certificate_with_a_changed_byte_is_refused_without_a_panic(at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let (roots, mut leaf) = trusted_leaf();
        let at = at.index(leaf.len());
        prop_assume!(leaf[at] != byte);
        leaf[at] = byte;
        if cut {
            leaf.truncate(at);
        }
        prop_assert!(!is_accepted(&roots, &leaf, &leaf));
    }
}
