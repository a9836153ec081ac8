//! One root replaces another: who reaches whom in every phase, and which root vouches.

use super::{
    authority::Authority,
    handshakes::{CLIENT, Proven, SERVER, identity, shake},
};
use crate::{
    identify::{HandshakeError, Identity, roots::Roots},
    observe::RootName,
};

/// An agent in some phase of a rotation.
struct Phase {
    what: &'static str,
    authority: Authority,
    trusts_old: bool,
    trusts_new: bool,
}

fn phases() -> (RootName, RootName, Vec<Phase>) {
    let (old, new) = (Authority::new(), Authority::new());
    let name = |authority: &Authority| RootName::of(&authority.root_certificate());
    let phase = |what, authority, trusts_old, trusts_new| Phase { what, authority, trusts_old, trusts_new };
    let phases = vec![
        phase("before", old.again(&[]), true, false),
        phase("the new root is known", old.again(&[&new]), true, true),
        phase("the new root signs", new.again(&[&old]), true, true),
        phase("the old root is gone", new.again(&[]), false, true),
    ];
    (name(&old), name(&new), phases)
}

#[tokio::test]
async fn in_each_phase_of_a_rotation_neighbouring_phases_reach_each_other_and_the_root_that_vouches_is_known() {
    let (old, new, phases) = phases();
    for (place_of_client, client) in phases.iter().enumerate() {
        for (place_of_server, server) in phases.iter().enumerate() {
            let what = format!("{} to {}", client.what, server.what);
            let signer = |place: usize| if place < 2 { old } else { new };
            let (client_id, server_id) =
                (identity(&client.authority, CLIENT).await, identity(&server.authority, SERVER).await);
            let (accepted, connected) = shake(&client_id, &server_id).await;
            let trusts = |phase: &Phase, root: RootName| if root == old { phase.trusts_old } else { phase.trusts_new };
            let client_is_trusted = trusts(server, signer(place_of_client));
            let server_is_trusted = trusts(client, signer(place_of_server));
            if place_of_client.abs_diff(place_of_server) < 2 {
                assert!(client_is_trusted && server_is_trusted, "{what}: the table is wrong");
            }
            judge(&what, &connected, server_is_trusted, signer(place_of_server));
            // A server that the client does not believe never sees the client's certificate.
            if server_is_trusted {
                judge(&what, &accepted, client_is_trusted, signer(place_of_client));
            }
        }
    }
}

fn judge(what: &str, proven: &Proven, trusted: bool, root: RootName) {
    match proven {
        Ok((peer, facts)) => {
            assert!(trusted, "{what}");
            assert_eq!((facts.root, peer.chain().root()), (root, root), "{what}");
        }
        Err(error) => assert!(!trusted && matches!(error, HandshakeError::UnknownIssuer), "{what}: {error}"),
    }
}

#[tokio::test]
async fn a_chain_over_an_intermediate_ends_with_its_first_certificate_and_names_its_root() {
    let ca = Authority::new();
    let hour = time::Duration::HOUR;
    let mut params = super::authority::named_authority("an intermediate");
    params.not_after = time::OffsetDateTime::now_utc() + hour / 2;
    let below: Identity = identity(&ca.below(params), CLIENT).await;
    assert_eq!(below.chain().root(), RootName::of(&ca.root_certificate()));
    assert_eq!(below.chain().links().len(), 2);
    let left = below.chain().not_after().duration_since(std::time::SystemTime::now()).unwrap();
    assert!(left < std::time::Duration::from_secs(1801) && below.not_after() > below.chain().not_after(), "{left:?}");
}

#[test]
fn the_same_root_twice_is_one_and_none_is_an_error() {
    let root = Authority::new().root_certificate();
    let roots = Roots::new(&[root.clone(), root.clone()]).unwrap();
    let named: Vec<_> = roots.iter().map(|root| root.name).collect();
    assert_eq!(named, [RootName::of(&root)]);
    assert!(roots.trusts(named[0]) && !roots.trusts(RootName::of(b"another")));
    assert!(Roots::new(&[]).is_err());
    assert!(Roots::new(&[b"no certificate".to_vec().into()]).is_err());
}
