//! What the kinds of the Gateway API share: references to Services, header matches, filters, durations, patterns.
//!
//! Each part is typed in the words of the upstream schema, is read with the limits that upstream's CRDs set, and
//! serializes to the shape that it was read from. What only a gateway can do is refused here with its reason.

mod backends;
mod duration;
mod extension;
mod header_match;
mod header_modifier;
mod hostname;
mod mirror;
mod parents;
mod pattern;
mod session;
mod streams;
mod union;
mod values;

#[cfg(test)]
pub(in crate::rules) mod tests;

pub use backends::{BackendFilter, BackendRef, FilteredBackendRef, ServiceRef};
pub use extension::{ExtensionKind, ExtensionRef};
pub use header_match::{HeaderMatch, TextMatch};
pub use header_modifier::{Header, HeaderModifier};
pub use mirror::{Fraction, RequestMirror};
pub use parents::ParentRef;
pub use pattern::Pattern;
pub use session::{CookieLifetime, SessionPersistence, SessionToken};
pub use streams::StreamRule;

pub(super) use backends::{MAX_BACKENDS, backend, filtered_backend, name as service_name, not_other_kind, service_ref};
pub(super) use duration::{DURATION, as_duration, as_optional_duration, parse_duration};
pub(super) use extension::extension_ref;
pub(super) use header_match::{header_matches, pattern, text_match};
pub(super) use header_modifier::{HEADER_NAME, as_name, header_modifier, header_name};
pub(super) use hostname::{PRECISE_HOSTNAME, is_address, is_precise_hostname};
pub(super) use mirror::request_mirror;
pub(super) use parents::parent_refs;
pub(super) use session::session_persistence;
pub(super) use streams::stream_rules;
pub(super) use union::{Member, Union, not_repeated, write_member};
pub(super) use values::{
    as_status, is_list, limited, no_hostnames, one_of, one_of_or, port, required, required_list, rule_name, rules,
    service_target,
};
