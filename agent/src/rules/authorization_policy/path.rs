//! Paths of requests, and templates of them.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::rules::value::StringMatch;

/// What a path may be, for messages.
pub(super) const PATH: &str = "a path that begins with / and has no ? or #, with * in front, at the end, or alone; or a \
    template in whose segments {*} is one and {**} any number, {**} being the last of these";

/// What the path of a request must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The path as text.
    Text(StringMatch),
    /// The path by its segments.
    Template(PathTemplate),
}

/// `/users/{*}/files/{**}`. Not empty, and at most the last operator is [`PathSegment::Many`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate(Vec<PathSegment>);

/// What stands between two slashes of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// This text, which may be empty at the end: `/a/`.
    Literal(String),
    /// `{*}`: one segment that is not empty.
    One,
    /// `{**}`: any text between its slashes, with slashes in it or empty. As in Envoy, `/a/{**}` is `/a/` and all below it,
    /// and not `/a`.
    Many,
}

impl PathMatch {
    /// Whether a path is meant; it has no query.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Text(text) => text.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }
}

impl PathTemplate {
    /// What the template consists of.
    pub fn segments(&self) -> &[PathSegment] {
        &self.0
    }

    /// Whether a path is of this form.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut found = path.split('/');
        let Some(many) = self.0.iter().position(|segment| *segment == PathSegment::Many) else {
            return self.0.iter().all(|segment| segment.fits(found.next())) && found.next().is_none();
        };
        let (before, after) = (&self.0[..many], &self.0[many + 1..]);
        before.iter().all(|segment| segment.fits(found.next()))
            && after.iter().rev().all(|segment| segment.fits(found.next_back()))
            && found.next().is_some()
    }

    /// Without the checks that reading makes.
    #[cfg(test)]
    pub(super) fn from_segments(segments: Vec<PathSegment>) -> Self {
        Self(segments)
    }

    fn parse(text: &str) -> Option<Self> {
        let segments: Vec<PathSegment> = text.strip_prefix('/')?.split('/').map(segment).collect::<Option<_>>()?;
        let many = segments.iter().position(|segment| *segment == PathSegment::Many);
        let operators_after = many.is_some_and(|many| segments[many + 1..].iter().any(PathSegment::is_operator));
        (!operators_after).then_some(Self(segments))
    }
}

impl PathSegment {
    fn is_operator(&self) -> bool {
        !matches!(self, Self::Literal(_))
    }

    fn fits(&self, found: Option<&str>) -> bool {
        found.is_some_and(|found| match self {
            Self::Literal(text) => text == found,
            Self::One => !found.is_empty(),
            Self::Many => true,
        })
    }
}

fn segment(text: &str) -> Option<PathSegment> {
    match text {
        "{*}" => Some(PathSegment::One),
        "{**}" => Some(PathSegment::Many),
        _ => (!text.contains(['{', '}', '*'])).then(|| PathSegment::Literal(text.to_owned())),
    }
}

impl FromStr for PathMatch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // Neither is part of a path, so nothing would ever match.
        if text.contains(['?', '#']) {
            return Err(());
        }
        if text.contains(['{', '}']) {
            return PathTemplate::parse(text).map(Self::Template).ok_or(());
        }
        let found: StringMatch = text.parse()?;
        let may_match = match &found {
            StringMatch::Exact(path) | StringMatch::Prefix(path) => path.starts_with('/'),
            StringMatch::Suffix(_) | StringMatch::Present => true,
        };
        if may_match { Ok(Self::Text(found)) } else { Err(()) }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Template(template) => template.fmt(f),
        }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            PathSegment::Literal(text) => write!(f, "/{text}"),
            PathSegment::One => f.write_str("/{*}"),
            PathSegment::Many => f.write_str("/{**}"),
        })
    }
}

impl Serialize for PathMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
