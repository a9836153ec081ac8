//! What a question may be, and what is none.

use crate::explain::{AccessLogState, BadQuestion, Origin, Says, Target, Unanswerable, Written};

fn written(from: &str, to: &str) -> Written {
    Written { from: from.to_owned(), to: to.to_owned(), ..Written::default() }
}

#[test]
fn what_is_no_question_is_told_with_an_example() {
    let good = || written("shop/web", "cart:80");
    let with = |change: fn(&mut Written)| {
        let mut question = good();
        change(&mut question);
        question.understood().map(drop).unwrap_err()
    };
    for (from, to) in [("web", "a:80"), ("", "a:80"), ("a/b/c", "a:80"), ("shop/", "a:80"), ("a /b", "a:80")] {
        assert_eq!(written(from, to).understood().unwrap_err(), BadQuestion::From(from.to_owned()));
    }
    for to in ["cart", "", ":80", "cart:0", "cart:x", "cart:70000", "ca rt:80", "http://cart:80", "[::1:80x"] {
        assert_eq!(written("shop/web", to).understood().unwrap_err(), BadQuestion::To(to.to_owned()));
    }
    assert_eq!(with(|q| q.path = Some("cart".to_owned())), BadQuestion::Path("cart".to_owned()));
    assert_eq!(with(|q| q.method = Some("GE T".to_owned())), BadQuestion::Method("GE T".to_owned()));
    assert_eq!(with(|q| q.headers = vec!["nothing".to_owned()]), BadQuestion::Header("nothing".to_owned()));
    assert_eq!(
        with(|q| q.headers = vec!["authorization: \u{7f}s3cret".to_owned()]),
        BadQuestion::Header("authorization".to_owned())
    );
    assert_eq!(with(|q| q.headers = vec!["a: b".to_owned(); 65]), BadQuestion::TooManyHeaders);
    let several: [fn(&mut Written); 3] = [
        |q| (q.bytes, q.sni) = (true, Some("a".to_owned())),
        |q| (q.path, q.sni) = (Some("/".to_owned()), Some("a".to_owned())),
        |q| (q.headers, q.bytes) = (vec!["a: b".to_owned()], true),
    ];
    for change in several {
        assert_eq!(with(change), BadQuestion::Several);
    }
    assert_eq!(Written::from_query("from=%ff").unwrap_err(), BadQuestion::Encoding);
}

#[test]
fn a_question_comes_through_a_query_as_it_was() {
    let question = Written {
        from: "shop/web-7c9f".to_owned(),
        to: "[2001:db8::1]:443".to_owned(),
        method: Some("POST".to_owned()),
        path: Some("/a b?c=d&e=%20#".to_owned()),
        headers: vec!["x-user: \u{e4}&=".to_owned(), "x-user: b".to_owned()],
        sni: Some(String::new()),
        bytes: true,
    };
    let (read, others) = Written::from_query(&question.to_query()).unwrap();
    assert_eq!((read, others), (question, Vec::new()));
    let (_, others) = Written::from_query("connection=7&&frm=x").unwrap();
    assert_eq!(others, [("connection".to_owned(), "7".to_owned()), ("frm".to_owned(), "x".to_owned())]);
}

#[test]
fn clients_and_destinations_are_names_or_addresses() {
    let question = written("10.0.0.1", "[2001:db8::1]:443").understood().unwrap();
    assert_eq!(question.from, Origin::Address("10.0.0.1".parse().unwrap()));
    assert_eq!(question.to, Target { host: "2001:db8::1".to_owned(), port: 443 });
    assert_eq!(question.to_string(), "10.0.0.1 to [2001:db8::1]:443");
    let question = written("shop/web", "Cart.Shop:80").understood().unwrap();
    assert_eq!((question.to.host.as_str(), question.says), ("cart.shop", None));
    let header = Written { headers: vec!["x: y".to_owned()], ..written("shop/web", "cart:80") };
    let Some(Says::Request(asked)) = header.understood().unwrap().says else { panic!("no request") };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/"));
}

#[test]
fn what_is_not_kept_is_told_with_what_to_do() {
    let no_trace = |log| Unanswerable::NoTrace { id: "7".to_owned(), kept: 5, log }.to_string();
    let (on, off) = (no_trace(AccessLogState::On), no_trace(AccessLogState::Off));
    assert!(on.contains("Telemetry") && !on.contains("log-level"), "{on}");
    assert!(off.contains("Telemetry") && off.contains("log.access") && off.contains("log-level"), "{off}");
    let nothing = Unanswerable::NothingKept.to_string();
    assert!(nothing.contains("log.remembered") && !nothing.contains("log.access"), "{nothing}");
}
