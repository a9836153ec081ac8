//! What a review and a token say.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use super::*;

fn user(username: &str, facts: &[(&str, &[&str])]) -> UserInfo {
    let fact = |(key, values): &(&str, &[&str])| ((*key).to_owned(), values.iter().map(|v| (*v).to_owned()).collect());
    let extra: BTreeMap<String, Vec<String>> = facts.iter().map(fact).collect();
    UserInfo { username: Some(username.to_owned()), extra: Some(extra), ..UserInfo::default() }
}

#[test]
fn a_caller_is_a_service_account_with_what_its_token_is_bound_to() {
    let facts: [(&str, &[&str]); 3] = [(POD_NAME, &["agent-x"]), (POD_UID, &["uid-x"]), (NODE_NAME, &["node-a"])];
    let caller = caller_of(user("system:serviceaccount:heddle-system:heddle-agent", &facts)).unwrap();
    assert_eq!(caller.account().to_string(), "heddle-system/heddle-agent");
    assert_eq!(caller.pod().map(|pod| (&*pod.name, &*pod.uid)), Some(("agent-x", "uid-x")));
    assert_eq!(caller.node().map(|node| &**node), Some("node-a"));
}

#[test]
fn a_binding_that_is_not_whole_is_none() {
    let name = "system:serviceaccount:a:b";
    let cases: [&[(&str, &[&str])]; 4] = [
        &[],
        &[(NODE_NAME, &["node-a"])],
        &[(POD_NAME, &["x"]), (NODE_NAME, &["node-a"])],
        &[(POD_NAME, &["x", "y"]), (POD_UID, &["u"]), (NODE_NAME, &["node-a"])],
    ];
    for facts in cases {
        let caller = caller_of(user(name, facts)).unwrap();
        assert_eq!((caller.pod(), caller.node()), (None, None), "{facts:?}");
    }
}

#[test]
fn users_that_are_no_service_accounts_are_refused() {
    for name in ["kubernetes-admin", "system:node:node-a", "system:serviceaccount:a", "system:serviceaccount::b", ""] {
        let refusal = caller_of(user(name, &[])).err().unwrap();
        assert!(matches!(&refusal, Refusal::NotServiceAccount(found) if found == name), "{refusal}");
    }
}

#[test]
fn the_end_of_a_token_is_read_and_other_tokens_have_none() {
    // {"alg":"none"}, then {"exp":1800000000,"sub":"??>"} and the same of "?~>": the digits that differ from base 64.
    for payload in ["eyJleHAiOjE4MDAwMDAwMDAsInN1YiI6Ij8_PiJ9", "eyJleHAiOjE4MDAwMDAwMDAsInN1YiI6Ij9-PiJ9"] {
        let token = format!("eyJhbGciOiJub25lIn0.{payload}.sig");
        assert_eq!(expiry(&token), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
    }
    for other in ["opaque", "a.b.c", "a.e30.c", "", "..", "a.%%%.c", "a.eyJleHAiOiJ4In0.c"] {
        assert_eq!(expiry(other), None, "{other}");
    }
}

#[test]
fn a_hash_tells_tokens_apart_and_does_not_hold_them() {
    assert_ne!(hash("one"), hash("two"));
    assert_eq!(hash("one"), hash("one"));
    assert!(!hash("one").windows(3).any(|window| window == b"one"));
}
