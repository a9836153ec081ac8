//! Values out of a closed list of words, such as `ALLOW` and `DENY`.

use crate::config::yaml::{MapReader, Node, nearest};

/// A value that is written as one of a few words.
pub(in crate::rules) trait Word: Copy + 'static {
    /// Every value, in the order of messages.
    const ALL: &'static [Self];
    /// As it is written.
    fn as_str(self) -> &'static str;
}

/// Declares an enum together with its words, which it also serializes to.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $crate::rules::value::Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::rules::value::Word::as_str(*self))
            }
        }
    };
}
pub(in crate::rules) use words;

/// Reads one of the words. `unenforced` are words of the upstream schema that this build does not act on.
pub(in crate::rules) fn word<T: Word>(map: &MapReader<'_>, key: &'static str, unenforced: &[&str]) -> Option<T> {
    let words: Vec<&str> = T::ALL.iter().map(|word| word.as_str()).filter(|word| !unenforced.contains(word)).collect();
    let allowed = words.join(", ");
    let found = map.scalar(key, &allowed, Node::text)?;
    let known = T::ALL.iter().find(|word| word.as_str() == found && words.contains(&found)).copied();
    if known.is_none() {
        map.complain(key, hint(found, &words, unenforced, &allowed));
    }
    known
}

fn hint(found: &str, words: &[&str], unenforced: &[&str], allowed: &str) -> String {
    if unenforced.contains(&found) {
        return format!("found {found:?}, which is not enforced by this build, allowed: {allowed}");
    }
    match nearest(found, words) {
        Some(near) => format!("found {found:?}, allowed: {allowed}; did you mean {near}?"),
        None => format!("found {found:?}, allowed: {allowed}"),
    }
}
