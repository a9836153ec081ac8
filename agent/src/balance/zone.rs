//! Whether a pick is made among the endpoints of this node's zone, or among the others.
//!
//! Zones are all that is known of places: all other zones are equally far. `distribute`, `failover` and
//! `failoverPriority` need regions and are not honoured.

use crate::{
    mesh::{Endpoints, Reach},
    rules::destination_rule::{LoadBalancer, OutlierDetection},
};

/// A zone keeps all of its traffic while this many times its healthy endpoints are as many as all of them: Envoy's
/// overprovisioning factor, 1.4, in tenths. So 72 of 100 are enough.
const OVERPROVISIONING: usize = 14;

/// Whether near comes before far: where that is asked for, or where it is not refused and endpoints can be left out.
/// Without the latter, Istio does not look at zones, since it would not notice that a zone is down.
pub(super) fn is_preferred(load_balancer: Option<&LoadBalancer>, outliers: Option<&OutlierDetection>) -> bool {
    let asked = load_balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref()?.enabled);
    asked.unwrap_or(outliers.is_some())
}

/// Where to pick, for a draw from the range of `u64`. Draws of one value go the same way as long as no endpoint changes.
pub(super) fn choose(endpoints: &Endpoints, near_left_out: usize, draw: u64) -> Reach {
    match near_share(endpoints, near_left_out) {
        None => Reach::All,
        Some(share) if draw >> 32 < share => Reach::Near,
        Some(_) => Reach::Far,
    }
}

/// What of all draws is near, in parts of 2^32, which is fine enough for a share; `None` where there is no choice.
pub(super) fn near_share(endpoints: &Endpoints, near_left_out: usize) -> Option<u64> {
    let (near, far) = (endpoints.len_within(Reach::Near), endpoints.len_within(Reach::Far));
    if near == 0 || far == 0 {
        return None;
    }
    let healthy = near.saturating_sub(near_left_out);
    let share = (((healthy as u128 * OVERPROVISIONING as u128) << 32) / (near as u128 * 10)).min(1 << 32);
    u64::try_from(share).ok()
}

/// Where to pick when there is none within reach.
pub(super) fn other(reach: Reach) -> Option<Reach> {
    match reach {
        Reach::All => None,
        Reach::Near => Some(Reach::Far),
        Reach::Far => Some(Reach::Near),
    }
}
