//! Rotation by a steered time, the state in the Secret, and what a keyring is made of.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::pki_types::CertificateSigningRequestDer;
use tokio::time::Instant;

use super::{
    roots::{RootError, Roots},
    rotation::{Pace, Policy, Step},
    state::{Phase, RootState},
    trial::prove,
};
use crate::{
    ca::signing::{Keyring, Life},
    config::authority::{ObjectPlace, SecretRoots},
    identify::Clock,
    mesh::{SpiffeId, TrustDomain},
};

const DAY: Duration = Duration::from_secs(86_400);
const ID: &str = "spiffe://mesh.example/ns/shop/sa/web";

fn domain() -> TrustDomain {
    "mesh.example".parse().unwrap()
}

fn settings(overlap: Duration) -> SecretRoots {
    let place = ObjectPlace { namespace: "heddle-system".to_owned(), name: "heddle-ca".to_owned() };
    SecretRoots { place, lifetime: 100 * DAY, rotate_below_percent: 20, overlap }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn phases(state: &RootState) -> String {
    let letter = |phase: &Phase| match phase {
        Phase::Next { .. } => 'n',
        Phase::Signing {} => 's',
        Phase::Retired { .. } => 'r',
    };
    state.roots.iter().map(|root| letter(&root.phase)).collect()
}

fn keyring(policy: &Policy<'_>, state: &RootState, now: SystemTime) -> Keyring {
    policy.keyring(state, Path::new("roots.json"), now).unwrap()
}

#[test]
fn a_root_is_followed_in_four_steps_and_each_waits_for_all_leaves() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let lag = Pace::of(DAY).stale_after;
    let mut state = policy.begin(start()).unwrap();
    let mut advance = |at: SystemTime| {
        let steps = policy.advance(&mut state, at).unwrap();
        (steps, phases(&state))
    };
    let old_enough = start() + 80 * DAY;
    let second = Duration::from_secs(1);
    assert_eq!(advance(start()), (vec![], "s".to_owned()));
    // A certificate begins a minute before it is made, so a fifth of its life is some seconds more than 20 days.
    assert_eq!(advance(old_enough - Duration::from_secs(60)), (vec![], "s".to_owned()));
    let published = old_enough + second;
    assert_eq!(advance(published), (vec![Step::Published], "sn".to_owned()));
    assert_eq!(advance(published + DAY), (vec![], "sn".to_owned()), "a replica may be behind");
    let promoted = published + DAY + lag;
    assert_eq!(advance(promoted), (vec![Step::Promoted], "rs".to_owned()));
    assert_eq!(advance(promoted + DAY), (vec![], "rs".to_owned()), "a replica may have signed a while longer");
    assert_eq!(advance(promoted + DAY + lag), (vec![Step::Dropped], "s".to_owned()));
    assert_eq!(advance(promoted + 70 * DAY), (vec![], "s".to_owned()), "the new root is young");
}

#[test]
fn peers_of_every_phase_accept_the_leaves_of_the_next() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let mut now = start() + 81 * DAY;
    let mut state = policy.begin(start()).unwrap();
    let first = keyring(&policy, &state, now).signer().cloned();
    policy.advance(&mut state, now).unwrap();
    let published = keyring(&policy, &state, now);
    assert_eq!((published.roots().len(), published.signer().cloned()), (2, first.clone()));
    now += 2 * DAY;
    policy.advance(&mut state, now).unwrap();
    let promoted = keyring(&policy, &state, now);
    assert_ne!(promoted.signer().cloned(), first);
    assert_eq!(promoted.roots()[0], published.roots()[1], "what signs now was trusted before");
    assert_eq!(promoted.roots()[1], published.roots()[0], "what signed before is trusted still");
    assert_eq!(prove(&promoted, &domain, now), Ok(0));
    assert!(state.roots.iter().all(|root| root.key.is_some() == (root.phase == Phase::Signing {})));
}

#[test]
fn a_longer_life_of_leaves_is_remembered_until_the_rotation_that_it_matters_for_is_over() {
    let (domain, long, short) = (domain(), settings(2 * DAY), settings(DAY));
    let (long, short) = (Policy { domain: &domain, settings: &long }, Policy { domain: &domain, settings: &short });
    let mut state = short.begin(start()).unwrap();
    assert_eq!(long.advance(&mut state, start() + DAY).unwrap(), [Step::Widened]);
    // The operator goes back to the short one: leaves of the long one are about still.
    let published = start() + 81 * DAY;
    assert_eq!(short.advance(&mut state, published).unwrap(), [Step::Published]);
    assert_eq!(short.advance(&mut state, published + DAY + DAY / 2).unwrap(), []);
    let promoted = published + 2 * DAY + DAY / 2;
    assert_eq!(short.advance(&mut state, promoted).unwrap(), [Step::Promoted]);
    assert_eq!(state.overlap(), DAY);
    assert_eq!(short.advance(&mut state, promoted + DAY + DAY / 2).unwrap(), [], "until the long leaves have ended");
    assert_eq!(short.advance(&mut state, promoted + 3 * DAY).unwrap(), [Step::Dropped]);
}

#[test]
fn a_root_that_ended_while_nobody_looked_is_replaced_at_once() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let late = start() + 200 * DAY;
    let mut state = policy.begin(start()).unwrap();
    assert_eq!(policy.advance(&mut state, late).unwrap(), [Step::Emergency]);
    assert_eq!(phases(&state), "rs");
    assert_eq!(prove(&keyring(&policy, &state, late), &domain, late), Ok(0));
    // The same with a next one at hand.
    let mut state = policy.begin(start()).unwrap();
    policy.advance(&mut state, start() + 99 * DAY).unwrap();
    assert_eq!(policy.advance(&mut state, start() + 100 * DAY).unwrap(), [Step::Emergency]);
    assert_eq!(phases(&state), "rs");
}

#[test]
fn the_state_is_written_and_read_without_loss_and_what_does_not_fit_is_refused() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let mut state = policy.begin(start()).unwrap();
    policy.advance(&mut state, start() + 81 * DAY).unwrap();
    let json = state.to_json().unwrap();
    assert!(RootState::parse(&json).unwrap() == state);
    assert!(String::from_utf8(json.clone()).unwrap().contains("\"signsFrom\": \"2027-"));
    assert_eq!(state.bundle().matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!state.bundle().contains("PRIVATE"));

    let text = String::from_utf8(json).unwrap();
    let cases = [
        (text.replace("\"version\": 1", "\"version\": 2"), "version 2"),
        (
            text.replace("\"signing\": {}", "\"retired\": {\"trustedUntil\": \"2030-01-01T00:00:00Z\"}"),
            "0 roots that sign",
        ),
        (text.replace("overlapSeconds", "overlap"), "not the JSON of this build"),
        ("{".to_owned(), "not the JSON of this build"),
    ];
    for (text, expected) in cases {
        let error = RootState::parse(text.as_bytes()).err().unwrap();
        assert!(error.contains(expected) && !error.contains("PRIVATE"), "{error}");
    }
}

#[test]
fn replicas_look_often_enough_to_be_no_further_behind_than_is_waited_for() {
    for overlap in [Duration::from_secs(10), Duration::from_secs(3600), DAY] {
        let Pace { look_every, stale_after } = Pace::of(overlap);
        assert!(look_every * 2 <= stale_after && stale_after <= overlap, "{overlap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_signed_by_a_root_that_was_not_confirmed_for_long_or_that_ended() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let clock = Clock::steered(start());
    let roots = Roots::default();
    let refusal = |roots: &Roots| roots.current(&clock).err();
    assert_eq!(refusal(&roots), Some(RootError::None));
    let state = policy.begin(start()).unwrap();
    let keyring = Arc::new(keyring(&policy, &state, start()));
    let mut changes = roots.changes();
    roots.put(&keyring, Some(Instant::now() + Duration::from_secs(60)));
    assert_eq!(refusal(&roots), None);
    assert!(changes.has_changed().unwrap());
    changes.borrow_and_update();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(refusal(&roots), Some(RootError::Stale));
    roots.put(&keyring, None);
    assert_eq!(refusal(&roots), None);
    assert!(!changes.has_changed().unwrap(), "the same again is no change");
    tokio::time::advance(100 * DAY).await;
    assert_eq!(refusal(&roots), Some(RootError::Ended));
}

#[test]
fn a_certificate_of_the_endpoint_proves_no_identity() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let state = policy.begin(start()).unwrap();
    let keyring = keyring(&policy, &state, start());
    let life = Life { now: start(), lifetime: DAY };
    let names = ["heddle-ca.heddle-system.svc".to_owned(), "10.0.0.1".to_owned()];
    let (chain, not_after) = keyring.sign_server(&names, &KeyPair::generate().unwrap(), life).unwrap();
    assert_eq!(not_after, start() + DAY);
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 2);
    assert!(!names.iter().any(|name| matches!(name, x509_parser::prelude::GeneralName::URI(_))));
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth);
}

#[test]
fn the_audit_says_the_serial_and_the_end_that_the_certificate_has() {
    let (domain, settings) = (domain(), settings(DAY));
    let policy = Policy { domain: &domain, settings: &settings };
    let state = policy.begin(start()).unwrap();
    let keyring = keyring(&policy, &state, start());
    let id: SpiffeId = ID.parse().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
    let request: CertificateSigningRequestDer<'_> =
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().into();
    let signed = keyring.sign(&id, &request, Life { now: start(), lifetime: DAY }).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.chain.chain[0]).unwrap();
    let serial: String = leaf.raw_serial().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(signed.serial, serial);
    assert_eq!(signed.not_after, start() + DAY);
    assert_eq!(super::certificate_times(&leaf).1, signed.not_after);
}
