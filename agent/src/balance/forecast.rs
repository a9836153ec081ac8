//! What a pick would come to: which endpoints there are, how they stand, and what share of picks each would get now. It is
//! read from what picks are made of, and nothing comes of it.

use std::net::SocketAddr;

use super::{
    Ask,
    health::Use,
    pick::{Bound, Compared, InSight, Pick},
};
use crate::mesh::{Locality, Reach};

/// Endpoints that are looked at. Of a Service with more of them, shares are those among these.
const MOST: usize = 256;

/// What a pick would come to.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// The only endpoint that comes into question, and why.
    pub bound: Option<(SocketAddr, Bound)>,
    /// How one is picked, in words.
    pub algorithm: &'static str,
    /// How many endpoints there are.
    pub count: usize,
    /// What of all picks is made in this node's zone; `None` where zones do not count.
    pub near: Option<f64>,
    /// Whether all are left out, so that all are used.
    pub all_left_out: bool,
    /// The endpoints, the likeliest first.
    pub endpoints: Vec<Foreseen>,
}

/// One endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Foreseen {
    /// Where it is.
    pub address: SocketAddr,
    /// In which zone, seen from this node.
    pub locality: Locality,
    /// Whether it may be used now.
    pub standing: Use,
    /// Requests under way to it from this node.
    pub in_flight: u32,
    /// Seconds that one more request is expected to wait (peak-EWMA).
    pub wait: f64,
    /// What of its share it gets since it is new.
    pub part: f64,
    /// What of all picks it gets.
    pub share: f64,
}

pub(super) fn forecast(pick: &Pick<'_>, ask: &Ask<'_>) -> Forecast {
    let (bound, compared) = (pick.bound(), pick.compared());
    let near = pick.near_share().map(|parts| parts as f64 / 4_294_967_296.0);
    let groups = match near {
        None => vec![(1.0, pick.seen_within(Reach::All, MOST))],
        Some(near) => {
            vec![(near, pick.seen_within(Reach::Near, MOST)), (1.0 - near, pick.seen_within(Reach::Far, MOST))]
        }
    };
    // Where there is none within reach, the pick is made elsewhere.
    let has_any = |group: &[InSight]| group.iter().any(|seen| seen.standing != Use::No);
    let lost: f64 = groups.iter().filter(|(_, group)| !has_any(group)).map(|(share, _)| share).sum();
    let all_left_out = !groups.iter().any(|(_, group)| has_any(group)) && !ask.port.ready.is_empty();
    let mut endpoints: Vec<Foreseen> = Vec::new();
    for (share, group) in &groups {
        let share = match has_any(group) {
            // All picks are made elsewhere first, where none can be used.
            true if lost >= 1.0 => 1.0,
            true => share / (1.0 - lost),
            false => *share,
        };
        endpoints.extend(shared(group, compared, share));
    }
    if all_left_out && !ask.has_fallback {
        let each = 1.0 / endpoints.iter().filter(|one| !ask.excluded.contains(&one.address)).count().max(1) as f64;
        endpoints.iter_mut().filter(|one| !ask.excluded.contains(&one.address)).for_each(|one| one.share = each);
    }
    if let Some((address, _)) = bound {
        endpoints.iter_mut().for_each(|one| one.share = if one.address == address { 1.0 } else { 0.0 });
    }
    endpoints.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.address.cmp(&b.address)));
    Forecast { bound, algorithm: in_words(compared), count: ask.port.ready.len(), near, all_left_out, endpoints }
}

/// The endpoints of one reach with what each gets of this share.
fn shared(group: &[InSight], compared: Compared, whole: f64) -> Vec<Foreseen> {
    let usable: Vec<&InSight> = group.iter().filter(|seen| seen.standing != Use::No).collect();
    let share = |seen: &InSight| match seen.standing {
        Use::No => 0.0,
        Use::Yes | Use::Probe => whole * share_of(seen, &usable, compared),
    };
    let foreseen = |seen: &InSight| Foreseen {
        address: seen.address,
        locality: seen.locality,
        standing: seen.standing,
        in_flight: seen.in_flight,
        wait: seen.wait,
        part: seen.part,
        share: share(seen),
    };
    group.iter().map(foreseen).collect()
}

fn share_of(one: &InSight, usable: &[&InSight], compared: Compared) -> f64 {
    let whole: f64 = usable.iter().map(|seen| seen.part).sum();
    if usable.len() < 2 || matches!(compared, Compared::InTurn | Compared::AtRandom) {
        return one.part / whole;
    }
    // Two different ones are drawn, each as likely as its part; of equals the first wins.
    let drawn = |first: &InSight, second: &InSight| first.part / whole * second.part / (whole - first.part);
    let cost = |seen: &InSight| match (seen.standing, compared) {
        // A probe has to be used.
        (Use::Probe, _) => -1.0,
        (_, Compared::ByLoad) => f64::from(seen.in_flight),
        _ => seen.wait,
    };
    let others = usable.iter().filter(|other| other.address != one.address);
    let won = others.map(|other| {
        let as_first = if cost(one) <= cost(other) { drawn(one, other) } else { 0.0 };
        let as_second = if cost(one) < cost(other) { drawn(other, one) } else { 0.0 };
        as_first + as_second
    });
    won.sum()
}

fn in_words(compared: Compared) -> &'static str {
    match compared {
        Compared::InTurn => "one after the other (ROUND_ROBIN)",
        Compared::AtRandom => "any (RANDOM)",
        Compared::ByLoad => "of two the one with fewer requests under way (LEAST_REQUEST)",
        Compared::ByWait => "of two the one with the shorter expected wait (peak-EWMA)",
    }
}
