//! Tests of the decisions about native connections.

use core::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn stage() -> impl Strategy<Value = NativeStage> {
    prop_oneof![Just(NativeStage::Opening), Just(NativeStage::Arrived), Just(NativeStage::Open)]
}

fn connection(destination: u64, generation: u64, stage: NativeStage) -> NativeConnection {
    let verdict = Verdict { generation, destination, client: Address::default() };
    NativeConnection { stage: stage as u32, ..NativeConnection::opening(&verdict, 0) }
}

proptest! {
    #[test]
    fn a_verdict_is_for_its_generation_and_its_address_only(
        decided in 1_u64..4, in_force in 0_u64..5, client: IpAddr, bound: Option<IpAddr>, destination in 0_u64..3,
    ) {
        let verdict = Verdict { generation: decided, destination, client: client.into() };
        let at = bound.map_or_else(Address::default, Address::from);
        let free = bound.is_none_or(|bound| bound.to_canonical().is_unspecified());
        let expected = decided == in_force && (free || bound.map(|bound| bound.to_canonical()) == Some(client.to_canonical()));
        prop_assert_eq!(verdict.takes(in_force, &at), expected);
    }

    #[test]
    fn a_syn_passes_only_before_its_connection_is_open_and_only_in_its_generation(
        destination in 0_u64..3, here in 1_u64..3, decided in 1_u64..4, in_force in 0_u64..5, stage in stage(),
    ) {
        let native = connection(destination, decided, stage);
        let opens = stage != NativeStage::Open;
        prop_assert_eq!(native.leaves(in_force) == NativeSyn::Passes, opens && decided == in_force);
        prop_assert_eq!(native.leaves(in_force) == NativeSyn::IsAnother, !opens);
        let there = native.arrives(here, in_force);
        prop_assert_eq!(there == NativeSyn::Passes, opens && decided == in_force && destination == here);
        prop_assert_eq!(there == NativeSyn::IsAnother, !opens);
    }

    #[test]
    fn nobody_leaves_with_the_address_of_another_pod(
        destination in 0_u64..3, source in 1_u64..3, owner in proptest::option::of(1_u64..3), own: IpAddr, chosen: IpAddr,
    ) {
        let verdict = Verdict { generation: 1, destination, client: own.into() };
        let leaves = verdict.leaves_from(source, &chosen.into(), owner);
        prop_assert!(!leaves || owner.is_none_or(|owner| owner == source));
        prop_assert!(!leaves || destination == OUTSIDE || (own.to_canonical() == chosen.to_canonical() && owner.is_some()));
    }
}

#[test]
fn what_was_not_seen_at_the_pod_is_astray() {
    for (destination, stage, expected) in
        [(7, NativeStage::Opening, false), (7, NativeStage::Arrived, true), (OUTSIDE, NativeStage::Opening, true)]
    {
        assert_eq!(connection(destination, 1, stage).is_well_placed(), expected, "{destination} {stage:?}");
    }
}

#[test]
fn a_full_table_leaves_room_for_those_on_their_way() {
    assert!(native_has_room(0));
    assert!(!native_has_room(MOST_NATIVE as u64 - ROOM_ON_THE_WAY));
    assert!(!native_has_room(u64::MAX));
}
