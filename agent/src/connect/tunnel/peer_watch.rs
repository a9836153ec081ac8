//! What becomes of an open tunnel when its peer's certificate does not hold any more.
//!
//! In: the peer that the handshake proved. Out: an event when its certificate is revoked, which cuts the tunnel with all that
//! is in it, or when it has expired or its root is not trusted any more: then new connections need a new handshake, and the
//! open ones go on, as connections of any TLS do. A tunnel's own task asks here, so that nothing is looked up per connection.

use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};

use crate::{
    identify::{Certificates, Clock, Identity, Revocations, Revoked, VerifiedPeer},
    mesh::SpiffeId,
    observe::TunnelEndReason,
};

/// Sleeping does not see a clock that is set, so look again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Why a tunnel was cut, known to all its streams once it was.
pub(super) type Cut = Arc<OnceLock<Revoked>>;

/// Watches over one tunnel.
pub(super) struct PeerWatch {
    peer: VerifiedPeer,
    own: SpiffeId,
    clock: Clock,
    certificates: Certificates,
    changes: watch::Receiver<()>,
    revocations: Revocations,
    /// Whether the lists that were in force at the start were asked: the handshake may have been before them.
    asked: bool,
    stale: bool,
}

/// What happened to a peer's certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PeerEvent {
    /// No new connections in this tunnel. Told once.
    Stale(TunnelEndReason),
    /// Cut the tunnel.
    Revoked(Revoked),
}

impl PeerWatch {
    pub(super) fn new(own: &Identity, peer: &VerifiedPeer, certificates: &Certificates) -> Self {
        Self {
            peer: peer.clone(),
            own: own.id().clone(),
            clock: own.settings().clock().clone(),
            certificates: certificates.clone(),
            changes: certificates.changes(),
            revocations: own.settings().revocations().clone(),
            asked: false,
            stale: false,
        }
    }

    /// The next event. May be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> PeerEvent {
        loop {
            if !self.asked {
                self.asked = true;
                if let Some(revoked) = self.revocations.revoked(self.peer.chain()) {
                    return PeerEvent::Revoked(revoked);
                }
                if let Some(reason) = self.new_staleness() {
                    self.stale = true;
                    return PeerEvent::Stale(reason);
                }
            }
            let pause = self.pause();
            tokio::select! {
                () = self.revocations.changed() => {}
                Ok(()) = self.changes.changed(), if !self.stale => {}
                () = rest(pause) => {}
            }
            self.asked = false;
        }
    }

    fn new_staleness(&self) -> Option<TunnelEndReason> {
        if self.stale {
            return None;
        }
        if self.peer.chain().not_after() <= self.clock.now() {
            return Some(TunnelEndReason::PeerExpired);
        }
        // A pod that is being released has no identity any more; its tunnels end with it.
        let current = self.certificates.get(&self.own)?;
        (!current.roots().trusts(self.peer.chain().root())).then_some(TunnelEndReason::RootRemoved)
    }

    /// Until the certificate may have expired.
    fn pause(&self) -> Option<Duration> {
        let left = self.peer.chain().not_after().duration_since(self.clock.now()).unwrap_or_default();
        (!self.stale).then(|| left.min(LOOK_AGAIN))
    }
}

async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => pending().await,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, time::SystemTime};

    use tokio::{io::duplex, time::timeout};

    use super::*;
    use crate::{
        identify::{
            CrlFile, TlsSettings, TrustDomains, accept, connect, issue,
            tests::authority::{Authority, id},
        },
        observe::Observer,
    };

    const WEB: &str = "spiffe://mesh.example/ns/shop/sa/web";
    const CART: &str = "spiffe://mesh.example/ns/shop/sa/cart";

    fn settings(clock: Clock) -> TlsSettings {
        TlsSettings::new(TrustDomains::new("mesh.example".parse().unwrap(), []), clock)
    }

    /// The watch of a server over a client.
    async fn watch(server: &Identity, client: &Identity, certificates: &Certificates) -> PeerWatch {
        let (ours, theirs) = duplex(64 * 1024);
        let within = Duration::from_secs(10);
        let expected = [server.id().clone()];
        let (accepted, connected) =
            tokio::join!(accept(server, ours, within), connect(client, &expected, theirs, within));
        connected.unwrap();
        PeerWatch::new(server, &accepted.unwrap().1, certificates)
    }

    #[tokio::test]
    async fn a_revocation_is_told_at_once_and_one_of_before_the_start_too() {
        let (ca, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let path = directory.path().join("ca.crl");
        fs::write(&path, ca.revoke(&[])).unwrap();
        let (revocations, file) = CrlFile::open(&path).unwrap();
        let strict = settings(Clock::system()).with_revocations(revocations);
        let (certificates, _renewal) = store(ca.again(&[]), &strict);
        tokio::spawn(file.follow(certificates.clone(), Observer::new("test".into(), None).unwrap()));
        let server = issue(&ca, &id(CART), &strict).await.unwrap();
        let (good, bad) = (issue(&ca, &id(WEB), &strict).await.unwrap(), issue(&ca, &id(WEB), &strict).await.unwrap());
        let (mut over_good, mut over_bad) =
            (watch(&server, &good, &certificates).await, watch(&server, &bad, &certificates).await);
        let mut late = watch(&server, &bad, &certificates).await;

        fs::write(directory.path().join("new"), ca.revoke(&[&bad])).unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        let event = timeout(Duration::from_secs(30), over_bad.next()).await.unwrap();
        assert!(matches!(&event, PeerEvent::Revoked(why) if why.serial == bad.serial()), "{event:?}");
        // This one is polled for the first time only now.
        assert!(matches!(late.next().await, PeerEvent::Revoked(_)));
        assert!(timeout(Duration::from_millis(200), over_good.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_peer_is_told_once_when_its_time_is_over() {
        let clock = Clock::steered(SystemTime::now());
        let (ca, lenient) = (Authority::new(), settings(clock));
        let (certificates, _renewal) = store(ca.again(&[]), &lenient);
        let (server, client) =
            (issue(&ca, &id(CART), &lenient).await.unwrap(), issue(&ca, &id(WEB), &lenient).await.unwrap());
        let mut watch = watch(&server, &client, &certificates).await;
        // The tests' authority signs for an hour.
        assert!(timeout(Duration::from_secs(3590), watch.next()).await.is_err());
        let event = timeout(Duration::from_secs(20), watch.next()).await.unwrap();
        assert_eq!(event, PeerEvent::Stale(TunnelEndReason::PeerExpired));
        assert!(timeout(Duration::from_secs(86_400), watch.next()).await.is_err(), "it is told once");
    }

    #[tokio::test]
    async fn a_peer_whose_root_is_not_trusted_any_more_is_told() {
        let (old, new) = (Authority::new(), Authority::new());
        let lenient = settings(Clock::system());
        // The server's own certificates come from the new root already, and the old one is trusted for its peers.
        let server = issue(&new.again(&[&old]), &id(CART), &lenient).await.unwrap();
        let client = issue(&old.again(&[&new]), &id(WEB), &lenient).await.unwrap();
        for (others, trusted) in [(&[&old][..], true), (&[], false)] {
            let (certificates, _renewal) = store(new.again(others), &lenient);
            let mut watch = watch(&server, &client, &certificates).await;
            certificates.hold(&id(CART));
            certificates.wait_for(&id(CART)).await.unwrap();
            let event = timeout(Duration::from_millis(if trusted { 200 } else { 30_000 }), watch.next()).await;
            match trusted {
                true => assert!(event.is_err()),
                false => assert_eq!(event.unwrap(), PeerEvent::Stale(TunnelEndReason::RootRemoved)),
            }
        }
    }

    fn store(authority: Authority, settings: &TlsSettings) -> (Certificates, tokio::task::JoinHandle<()>) {
        let (certificates, renewal) = Certificates::new(Arc::new(authority), settings.clone());
        (certificates, tokio::spawn(renewal.run()))
    }
}
