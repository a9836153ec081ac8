//! Unions as the Gateway API writes them: `type` names a member, and the settings are in the field of that member.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{required, values::alternatives};
use crate::config::yaml::MapReader;

/// Reads the settings of a member, which are in this field.
type ReadMember<T> = fn(&MapReader<'_>, &'static str) -> Option<T>;

/// A member of a union.
#[derive(Debug)]
pub(in crate::rules) struct Member<T> {
    /// As written in `type`.
    pub(in crate::rules) name: &'static str,
    /// Where its settings are.
    pub(in crate::rules) field: &'static str,
    /// How it is read, or why this build does not serve it.
    pub(in crate::rules) read: Result<ReadMember<T>, &'static str>,
}

/// The members of a union.
#[derive(Debug)]
pub(in crate::rules) struct Union<T: 'static>(pub(in crate::rules) &'static [Member<T>]);

impl<T> Union<T> {
    /// Reads the member that `type` names. It must be there, and no other.
    pub(in crate::rules) fn read(&self, map: &MapReader<'_>) -> Option<T> {
        let chosen = self.chosen(map);
        for member in self.0 {
            map.tolerate(&[member.field]);
            if let Some(chosen) = chosen.filter(|chosen| chosen.field != member.field && map.has(member.field)) {
                map.complain(member.field, format!("goes with type {}, found type {}", member.name, chosen.name));
            }
        }
        let chosen = chosen?;
        if !map.has(chosen.field) {
            map.missing(chosen.field, &format!("what type {} is to do", chosen.name));
            return None;
        }
        match chosen.read {
            Ok(read) => read(map, chosen.field),
            Err(reason) => {
                map.complain("type", format!("{} {reason}", chosen.name));
                None
            }
        }
    }

    fn chosen(&self, map: &MapReader<'_>) -> Option<&'static Member<T>> {
        let served: Vec<_> = self.0.iter().filter(|member| member.read.is_ok()).map(|member| member.name).collect();
        required(map, "type", &alternatives(&served), |text| self.0.iter().find(|member| member.name == text))
    }
}

/// Writes a member.
pub(in crate::rules) fn write_member<S: Serializer>(
    serializer: S,
    name: &'static str,
    field: &'static str,
    value: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("type", name)?;
    map.serialize_entry(field, value)?;
    map.end()
}

/// Refuses a second filter of a type that may come once; `earlier` are the filters before this one.
pub(in crate::rules) fn not_repeated<T>(map: &MapReader<'_>, earlier: &[T], filter: &T, repeatable: fn(&T) -> bool) {
    let is_same = |other: &T| std::mem::discriminant(other) == std::mem::discriminant(filter);
    if !repeatable(filter) && earlier.iter().any(is_same) {
        map.complain("type", "comes a second time in this list, allowed: once; put both into one filter");
    }
}
