//! What a request tells the server to do: the header `x-behave`, or the same as the query parameter `behave`, and the
//! header lines `x-answer: NAME: VALUE`.
//!
//! `x-behave` is a list with `;` between its words, each `KEY` or `KEY=VALUE`.

use std::time::Duration;

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// What to do with one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Behaviour {
    /// `status=N`: instead of 200.
    pub(super) status: Option<u16>,
    /// `delay=MS`: before the head.
    pub(super) delay: Duration,
    /// `size=N`: a patterned body of so many bytes, announced unless `chunked` is there too.
    pub(super) size: Option<u64>,
    /// `chunked`
    pub(super) chunked: bool,
    /// `every=MS`: between two parts of the body that is sent.
    pub(super) every: Duration,
    /// `read-every=MS`: between two parts of the body that is read.
    pub(super) read_every: Duration,
    /// `trailer=NAME:VALUE`, any number of them.
    pub(super) trailers: HeaderMap,
    /// `cut=before`, `cut=after` the head, `cut=reset` before it by a reset.
    pub(super) cut: Option<Cut>,
    /// `early`: answers without reading the body.
    pub(super) early: bool,
    /// `echo`: sends the body of the request back while it comes.
    pub(super) echo: bool,
    /// `fail=N:KEY`: the first so many requests with that key fare as the rest says, the others are answered with 200.
    pub(super) fail: Option<(u64, String)>,
    /// `x-answer`
    pub(super) answer: HeaderMap,
}

/// Where an answer is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Before,
    After,
    Reset,
}

impl Behaviour {
    /// An error says which word is not understood.
    pub(super) fn of<B>(request: &Request<B>, default: &str) -> Result<Self, String> {
        let query = request.uri().query().unwrap_or_default();
        let in_query = query.split('&').find_map(|pair| pair.strip_prefix("behave="));
        let in_header = request.headers().get("x-behave").and_then(|value| value.to_str().ok());
        let mut behaviour = Self::default();
        for word in in_header.or(in_query).unwrap_or(default).split(';').map(str::trim).filter(|word| !word.is_empty())
        {
            behaviour.word(word).ok_or_else(|| format!("`{word}` is no behaviour"))?;
        }
        for line in request.headers().get_all("x-answer") {
            let line = line.to_str().ok().and_then(|line| line_of(&mut behaviour.answer, line));
            line.ok_or("x-answer is not NAME: VALUE")?;
        }
        Ok(behaviour)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let millis = || value.parse().ok().map(Duration::from_millis);
        match key {
            "status" => self.status = Some(value.parse().ok()?),
            "delay" => self.delay = millis()?,
            "size" => self.size = Some(value.parse().ok()?),
            "chunked" => self.chunked = true,
            "every" => self.every = millis()?,
            "read-every" => self.read_every = millis()?,
            "trailer" => line_of(&mut self.trailers, value)?,
            "cut" => self.cut = Some(cut(value)?),
            "early" => self.early = true,
            "echo" => self.echo = true,
            "fail" => {
                let (count, key) = value.split_once(':')?;
                self.fail = Some((count.parse().ok()?, key.to_owned()));
            }
            _ => return None,
        }
        Some(())
    }
}

fn cut(value: &str) -> Option<Cut> {
    [("before", Cut::Before), ("after", Cut::After), ("reset", Cut::Reset)]
        .into_iter()
        .find_map(|(name, cut)| (name == value).then_some(cut))
}

fn line_of(map: &mut HeaderMap, line: &str) -> Option<()> {
    let (name, value) = line.split_once(':')?;
    map.append(HeaderName::from_bytes(name.trim().as_bytes()).ok()?, HeaderValue::from_str(value.trim()).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn words_of_header_query_and_default_are_understood() {
        let request = Request::get("/x?a=b&behave=status=503;fail=2:k").header("x-answer", "Set-Cookie: a=b").body(());
        let behaviour = Behaviour::of(&request.unwrap(), "early").unwrap();
        assert_eq!((behaviour.status, behaviour.fail, behaviour.early), (Some(503), Some((2, "k".to_owned())), false));
        assert_eq!(behaviour.answer["set-cookie"], "a=b");
        let request = Request::get("/").header("x-behave", "size=9; chunked;trailer=a:1;trailer=b:2").body(()).unwrap();
        let behaviour = Behaviour::of(&request, "").unwrap();
        assert_eq!((behaviour.size, behaviour.chunked, behaviour.trailers.len()), (Some(9), true, 2));
        assert!(Behaviour::of(&Request::get("/").body(()).unwrap(), "early").unwrap().early);
    }

    #[test]
    fn a_word_that_is_not_understood_is_an_error() {
        for word in ["statuz=1", "status=x", "cut=off", "fail=2", "trailer=x"] {
            assert!(Behaviour::of(&Request::get("/").body(()).unwrap(), word).is_err(), "{word}");
        }
    }
}
