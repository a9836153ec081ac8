//! Each scenario for a short time, with one seed: what is found with others is found by the program.

use std::time::Duration;

use anyhow::Result;
use heddle_tests::chaos::play_alone;

const SEED: u64 = 7;

fn play(scenario: &str, seconds: u64) -> Result<()> {
    play_alone(scenario, SEED, Duration::from_secs(seconds)).map(drop)
}

#[test]
fn lost_packets_cost_no_byte() -> Result<()> {
    play("loss", 3)
}

#[test]
fn partitions_heal() -> Result<()> {
    play("partition", 4)
}

#[test]
fn peers_that_stop_at_any_step_are_cut_off_and_freed() -> Result<()> {
    play("stalls", 1)
}

#[test]
fn a_machine_that_vanishes_is_found_dead_and_freed() -> Result<()> {
    play("half-open", 1)
}

#[test]
fn endpoints_that_are_replaced_all_the_time_break_nothing() -> Result<()> {
    play("churn", 3)
}

#[test]
fn documents_that_are_rewritten_all_the_time_break_nothing_and_the_last_is_in_force() -> Result<()> {
    play("storm", 3)
}

#[test]
fn malformed_bytes_at_every_port_harm_nobody_else() -> Result<()> {
    play("malformed", 4)
}

#[test]
fn an_api_server_that_comes_and_goes_breaks_nothing() -> Result<()> {
    play("api-flapping", 4)
}

#[test]
fn a_full_disk_breaks_nothing_and_the_state_is_written_afterwards() -> Result<()> {
    play("disk-full", 2)
}

#[test]
fn without_an_authority_nothing_is_sent_once_certificates_have_expired() -> Result<()> {
    play("ca-outage", 1)
}

#[test]
fn a_clock_that_jumps_refuses_what_it_must_and_no_more() -> Result<()> {
    play("clock-jumps", 5)
}
