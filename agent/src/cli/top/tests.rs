//! The tables from seconds, what keys do, and what is on the screen.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent},
};
use serde_json::json;

use super::{
    draw::draw,
    state::{KEPT, Next, State},
    traffic::Second,
    unit::Unit,
    view::View,
};

fn flow(direction: &str, from: &str, to: &str, count: u64, failed: u64) -> serde_json::Value {
    json!({
        "direction": direction, "source": {"namespace": "shop", "workload": from},
        "destination": {"namespace": "shop", "workload": to}, "service": "web.shop.svc.cluster.local",
        "protocol": "http/1", "route": "HTTPRoute shop/web rules[0]", "mutualTls": true, "count": count, "failed": failed,
        "statuses": {}, "flags": {}, "latencies": [[1_000, count - 1], [250_000, 1]], "open": 0, "sent": 100,
        "received": 900,
    })
}

/// Connections that have been open for long.
fn open(direction: &str, from: &str, to: &str, count: u64) -> serde_json::Value {
    let mut open = flow(direction, from, to, 1, 0);
    (open["count"], open["open"], open["latencies"]) = (0.into(), count.into(), json!([]));
    open
}

fn second(flows: &[serde_json::Value]) -> Second {
    serde_json::from_value(json!({"at": 1, "milliseconds": 1_000, "flows": flows, "leftOut": 0})).unwrap()
}

fn state(flows: &[serde_json::Value]) -> State {
    let mut state = State::new();
    state.add(second(flows));
    state
}

fn press(state: &mut State, keys: &[KeyCode]) -> Next {
    keys.iter().map(|key| state.key(KeyEvent::from(*key))).last().unwrap()
}

fn names(state: &State) -> Vec<String> {
    state.rows().into_iter().map(|row| row.names.join(" ")).collect()
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, "/run/heddle/admin.sock")).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_workload_has_what_comes_in_and_what_goes_out_and_nothing_twice() {
    // A request between two pods of one node is told by both sides.
    let state = state(&[flow("outbound", "cart", "pay", 100, 0), flow("inbound", "cart", "pay", 100, 5)]);
    let rows = state.rows();
    let of = |name: &str| rows.iter().find(|row| row.names == [name]).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(&of("shop/pay").numbers[..3], [Some(100.0), Some(0.0), Some(0.0)]);
    assert_eq!(&of("shop/cart").numbers[..3], [Some(0.0), Some(100.0), Some(0.0)]);
    assert_eq!((of("shop/pay").numbers[3], of("shop/cart").numbers[3]), (Some(5.0), Some(0.0)), "what failed");
    assert_eq!(of("shop/pay").numbers[4..6], [Some(1.0), Some(1.0)], "99 of 100 took a millisecond");
    assert_eq!((of("shop/pay").fails, of("shop/cart").fails), (true, false));
}

#[test]
fn a_flow_that_both_sides_tell_is_counted_once() {
    let mut state = state(&[flow("outbound", "cart", "pay", 100, 0), flow("inbound", "cart", "pay", 100, 5)]);
    press(&mut state, &[KeyCode::Char('3')]);
    assert_eq!(
        (state.rows().len(), state.rows()[0].numbers[0], state.rows()[0].numbers[2]),
        (1, Some(100.0), Some(0.0))
    );
    let mut one_side = self::state(&[flow("inbound", "cart", "pay", 7, 0)]);
    press(&mut one_side, &[KeyCode::Char('3')]);
    assert_eq!(one_side.rows()[0].numbers[0], Some(7.0), "of a client elsewhere the server's side tells");
}

#[test]
fn what_is_only_open_is_there_at_once_with_what_it_moves() {
    let told_first = json!({"at": 1, "milliseconds": 0, "leftOut": 0, "flows": [open("outbound", "cart", "db", 3)]});
    let mut state = State::new();
    state.add(serde_json::from_value(told_first).unwrap());
    assert_eq!((names(&state), state.rows()[0].numbers[2]), (vec!["shop/cart".to_owned()], Some(3.0)));
    state.add(second(&[open("outbound", "cart", "db", 2)]));
    let row = &state.rows()[0];
    assert_eq!((row.numbers[2], row.numbers[6], row.numbers[7]), (Some(2.0), Some(2_000.0), Some(100.0)));
    assert_eq!(row.trend, [1_000, 1_000], "bytes, where nothing ended");
    state.add(second(&[]));
    assert_eq!(state.rows()[0].numbers[2], Some(0.0), "open no more");
}

#[test]
fn what_never_travelled_is_neither_encrypted_nor_not() {
    let mut failed = flow("outbound", "cart", "pay", 4, 4);
    failed["mutualTls"] = json!(null);
    assert_eq!(state(&[failed.clone()]).rows()[0].numbers[7], None);
    let both = state(&[failed, flow("outbound", "cart", "pay", 1, 0)]);
    assert_eq!(both.rows()[0].numbers[7], Some(100.0));
}

#[test]
fn a_lost_agent_is_said_beside_what_was_seen_and_forgotten_when_it_is_back() {
    let mut state = state(&[flow("inbound", "a", "b", 5, 0)]);
    state.trouble = Some(
        "ask the agent at /run/heddle/admin.sock: is it running here, and is that its admin.socket?: \
        Connection refused (os error 111)"
            .to_owned(),
    );
    let lost = screen(&state, 80, 24);
    for text in ["nothing comes from the agent, asked again each second", "(os error 111)", "shop/b", "q quit"] {
        assert!(lost.contains(text), "{text} is not in\n{lost}");
    }
    state.add(second(&[]));
    assert!(!screen(&state, 80, 24).contains("nothing comes"));
}

#[test]
fn routes_have_their_shares_of_the_service() {
    let mut state = state(&[flow("outbound", "cart", "v1", 75, 0), flow("outbound", "cart", "v2", 25, 0)]);
    press(&mut state, &[KeyCode::Char('2')]);
    let shares: Vec<_> = state.rows().iter().map(|row| (row.names[2].clone(), row.numbers[1])).collect();
    assert_eq!(shares, [("shop/v1".to_owned(), Some(75.0)), ("shop/v2".to_owned(), Some(25.0))]);
}

#[test]
fn rates_are_of_the_last_ten_seconds_and_trends_of_a_minute() {
    let mut state = State::new();
    for count in 0..2 * KEPT as u64 {
        state.add(second(&[flow("inbound", "cart", "pay", count.max(2), 0)]));
    }
    let row = &state.rows()[0];
    assert_eq!(row.numbers[0], Some((110..120).sum::<u64>() as f64 / 10.0));
    assert_eq!(row.trend, (60..120).collect::<Vec<_>>());
}

#[test]
fn keys_sort_filter_and_lead_inside_and_back() {
    use KeyCode::{Char, Down, Enter, Esc, Left, Tab};
    let mut state = state(&[flow("inbound", "a", "slow", 5, 0), flow("inbound", "b", "busy", 50, 0)]);
    assert_eq!(names(&state), ["shop/busy", "shop/slow"], "the busiest first");
    press(&mut state, &[Char('r')]);
    assert_eq!(names(&state), ["shop/slow", "shop/busy"]);
    press(&mut state, &[Char('r'), Left]);
    assert_eq!((names(&state), state.sort), (vec!["shop/busy".to_owned(), "shop/slow".to_owned()], 0), "by name");
    press(&mut state, &[Char('/'), Char('S'), Char('l'), Char('q')]);
    assert_eq!(names(&state), [""; 0], "q is a letter here");
    press(&mut state, &[KeyCode::Backspace, Enter]);
    assert_eq!(names(&state), ["shop/slow"]);
    press(&mut state, &[Esc, Down, Enter]);
    assert_eq!((state.view, state.inside.as_deref()), (View::Flows, Some("shop/slow")));
    assert_eq!(names(&state), ["shop/a shop/slow http/1"]);
    press(&mut state, &[Esc]);
    assert_eq!((state.view, state.inside.as_deref()), (View::Workloads, None));
    press(&mut state, &[Tab, Tab, Tab, Tab]);
    assert_eq!(state.view, View::Workloads);
    assert_eq!(press(&mut state, &[Char('q')]), Next::Quit);
}

#[test]
fn a_flow_leads_to_the_open_connections_of_its_client() {
    use KeyCode::{Char, Enter, Esc};
    let end =
        |workload: &str| json!({"address": "10.0.0.1:4000", "pod": format!("{workload}-1"), "workload": workload});
    let connection = |id: u64, from: &str, to: &str| {
        json!({
            "id": id, "direction": "outbound", "protocol": "tcp", "since": "2026-07-30T10:00:00.000Z", "ageSeconds": 90,
            "source": end(from), "destination": "10.96.0.1:80", "endpoint": end(to), "security": "mutual_tls",
            "sentBytes": 1_500, "receivedBytes": 7, "generation": 3,
        })
    };
    let connections = [connection(1, "shop/cart", "shop/pay"), connection(2, "shop/cart-admin", "shop/pay")];
    let mut state = state(&[flow("outbound", "cart", "pay", 5, 0)]);
    press(&mut state, &[Char('3'), Enter]);
    assert_eq!((state.view, state.inside.as_deref()), (View::Connections, Some("shop/cart")));
    state.set_connections(serde_json::from_value(json!({"open": 9, "connections": connections})).unwrap());
    assert_eq!(names(&state), ["1 shop/cart-1 shop/pay-1 tcp"]);
    let screen = screen(&state, 80, 24);
    for text in ["90s", "1.5k", "of shop/cart", "7 younger ones are open"] {
        assert!(screen.contains(text), "{text} is not in\n{screen}");
    }
    press(&mut state, &[Esc, Char('4')]);
    assert_eq!(names(&state).len(), 2);
}

#[test]
fn a_pause_keeps_what_is_shown() {
    let mut state = state(&[flow("inbound", "a", "b", 5, 0)]);
    press(&mut state, &[KeyCode::Char('p')]);
    state.add(second(&[flow("inbound", "a", "c", 5, 0)]));
    assert_eq!(names(&state), ["shop/b"]);
}

#[test]
fn the_cursor_stays_on_a_row() {
    let mut state = state(&[flow("inbound", "a", "b", 5, 0)]);
    press(&mut state, &[KeyCode::End, KeyCode::Down, KeyCode::PageDown]);
    assert_eq!(state.selected, 0);
    let mut nobody = State::new();
    press(&mut nobody, &[KeyCode::Down, KeyCode::Enter, KeyCode::Up]);
    assert_eq!((nobody.selected, nobody.view), (0, View::Workloads));
}

#[test]
fn the_screen_has_everything_at_80_by_24() {
    let state = state(&[flow("inbound", "cart", "payments", 1_234, 3)]);
    let screen = screen(&state, 80, 24);
    for text in
        ["1 Workloads", "WORKLOAD", "IN/S▼", "OPEN", "FAIL%", "P99", "MTLS%", "shop/payments", "1.2k", "0.2", "q quit"]
    {
        assert!(screen.contains(text), "{text} is not in\n{screen}");
    }
    assert!(!screen.contains("LAST MINUTE"), "no room for it:\n{screen}");
}

#[test]
fn a_wide_screen_has_trends_and_a_tiny_one_does_not_fail() {
    let mut state = state(&[flow("inbound", "cart", "payments", 10, 0)]);
    assert!(screen(&state, 160, 24).contains('█'));
    for view in ['1', '2', '3', '4'] {
        for size in [(1, 1), (10, 4), (40, 10), (79, 23)] {
            press(&mut state, &[KeyCode::Char(view)]);
            let _ = screen(&state, size.0, size.1);
        }
    }
    press(&mut state, &[KeyCode::Char('?')]);
    assert!(screen(&state, 80, 24).contains("Ctrl-C      end"));
    let _ = screen(&state, 5, 2);
}

#[test]
fn every_number_fits_its_column() {
    let numbers = [0.0, 0.04, 0.5, 9.99, 99.94, 100.0, 999.9, 999.96, 1_000.0, 123_456.0, 999_960.0, 9e9, 4e11];
    for unit in [Unit::PerSecond, Unit::Count, Unit::Bytes, Unit::Seconds, Unit::Percent, Unit::Milliseconds] {
        let most = match unit {
            Unit::Percent => 100.0,
            Unit::Milliseconds | Unit::Seconds => 4e6,
            _ => 4e11,
        };
        for number in numbers.into_iter().filter(|number| *number <= most) {
            let text = unit.text(number);
            assert!(text.len() <= 6, "{unit:?} {number}: {text}");
        }
    }
    assert_eq!((Unit::Percent.text(0.01), Unit::Milliseconds.text(12_345.0)), ("<0.1".to_owned(), "12.3s".to_owned()));
}
