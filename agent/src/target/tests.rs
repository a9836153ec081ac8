//! Tests of normal forms: tables out of RFC 3986, and properties.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

#[test]
fn a_path_is_read_in_normal_form() {
    for (sent, normal) in [
        ("/", "/"),
        ("", "/"),
        ("*", "*"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("/%61dmin", "/admin"),
        ("/%7Euser/%2D", "/~user/-"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf\u{e9}", "/caf\u{e9}"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%20b%23c%3fd", "/a%20b%23c%3Fd"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a/..b/.c/...", "/a/..b/.c/..."),
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("//a//b/", "//a//b/"),
        ("/a//../b", "/a/b"),
        ("/a;v=1/b", "/a;v=1/b"),
    ] {
        let target = RequestTarget::parse(sent).unwrap();
        assert_eq!(target.path(), normal, "{sent}");
        assert_eq!(target.is_as_sent(), sent == normal || sent.is_empty(), "{sent}");
    }
}

#[test]
fn what_is_sent_on_is_written_anew_only_where_it_was_not_in_normal_form() {
    for (sent, rewritten) in [
        ("/a/b", None),
        ("/a?x=/../y", None),
        ("*", None),
        ("", Some("/")),
        ("?x", Some("/?x")),
        ("/a/../b?x", Some("/b?x")),
        ("/%61", Some("/a")),
    ] {
        assert_eq!(RequestTarget::parse(sent).unwrap().rewritten(sent).as_deref(), rewritten, "{sent}");
    }
}

#[test]
fn what_readers_take_for_different_things_is_refused() {
    for (sent, why) in [
        ("a", BadTarget::NoPath),
        ("http://a/b", BadTarget::NoPath),
        ("/a\\b", BadTarget::Forbidden { byte: b'\\', offset: 2 }),
        ("/a%5cb", BadTarget::Forbidden { byte: b'\\', offset: 2 }),
        ("/a%00", BadTarget::Forbidden { byte: 0, offset: 2 }),
        ("/a\tb", BadTarget::Forbidden { byte: b'\t', offset: 2 }),
        ("/a%0d%0ab", BadTarget::Forbidden { byte: b'\r', offset: 2 }),
        ("/a b", BadTarget::Forbidden { byte: b' ', offset: 2 }),
        ("/a#b", BadTarget::Forbidden { byte: b'#', offset: 2 }),
        ("/a?b c", BadTarget::Forbidden { byte: b' ', offset: 4 }),
        ("/a?b\r\nc", BadTarget::Forbidden { byte: b'\r', offset: 4 }),
        ("/%", BadTarget::Escape { offset: 1 }),
        ("/a%2", BadTarget::Escape { offset: 2 }),
        ("/%zz", BadTarget::Escape { offset: 1 }),
    ] {
        assert_eq!(RequestTarget::parse(sent), Err(why), "{sent}");
    }
}

#[test]
fn the_query_is_no_part_of_the_path_and_stays_as_it_was_sent() {
    let target = RequestTarget::parse("/a/../b?x=/../%zz\\?y").unwrap();
    assert_eq!((target.path(), target.query()), ("/b", Some("x=/../%zz\\?y")));
    assert_eq!(RequestTarget::parse("/a?").unwrap().query(), Some(""));
    assert_eq!(RequestTarget::parse("/a").unwrap().query(), None);
}

#[test]
fn the_first_parameter_of_a_name_counts_decoded() {
    for (query, name, value) in [
        ("a=1", "a", Some("1")),
        ("a=1&a=2", "a", Some("1")),
        ("b=1&a=2", "a", Some("2")),
        ("a", "a", Some("")),
        ("a=", "a", Some("")),
        ("a=b=c", "a", Some("b=c")),
        ("a=b+c%2Bd", "a", Some("b c+d")),
        ("%61=1", "a", Some("1")),
        ("A=1", "a", None),
        ("ab=1", "a", None),
        ("a=%zz%4", "a", Some("%zz%4")),
        ("&&a=1", "a", Some("1")),
        ("a;b=1", "b", None),
        ("", "a", None),
    ] {
        let text = format!("/?{query}");
        let target = RequestTarget::parse(&text).unwrap();
        assert_eq!(target.parameter(name).as_deref(), value.map(str::as_bytes), "{query} {name}");
    }
    assert_eq!(RequestTarget::parse("/").unwrap().parameter("a"), None);
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own_normal_form(path in "(/(a|B|\\.|%2e|%2E|%61|%c3%a9|%2f|é){0,4}){1,6}") {
        let once = normal_path(&path).unwrap().into_owned();
        prop_assert_eq!(normal_path(&once).unwrap(), Cow::Borrowed(once.as_str()));
        prop_assert!(once.starts_with('/') && !once.split('/').any(|segment| segment == "." || segment == ".."));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}", more in "[/.%0-9a-f\\\\?#]{0,20}") {
        for text in [format!("/{text}{more}"), more.clone(), text.clone()] {
            if let Ok(target) = RequestTarget::parse(&text) {
                let again = target.path().to_owned();
                prop_assert_eq!(normal_path(&again), Ok(Cow::Borrowed(again.as_str())));
            }
        }
    }
}
