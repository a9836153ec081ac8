//! The bill of materials, as CycloneDX 1.5 JSON: the program, the crates in it, and the system's files beside it.
//!
//! Crates that only took part in building have the scope `excluded`, which is the format's word for what is not there at run
//! time. There is no serial number: the same image has the same bill.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    crates::{Crate, Id},
    packages::{Package, distribution},
};

/// What a bill is about.
pub(super) struct Subject<'a> {
    pub(super) version: &'a str,
    pub(super) revision: &'a str,
    pub(super) created: &'a str,
    pub(super) compiler: &'a str,
}

/// The bill, ready to be written.
pub(super) fn bill(subject: &Subject<'_>, crates: &BTreeMap<Id, Crate>, packages: &[Package]) -> String {
    let program = ("heddle".to_owned(), subject.version.to_owned());
    let others = crates.iter().filter(|(id, _)| **id != program);
    let mut components: Vec<Value> = others.clone().map(|(id, one)| of_crate(id, one)).collect();
    components.push(json!({
        "type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": subject.compiler, "scope": "required",
        "description": "the standard library of the compiler",
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }));
    components.extend(packages.iter().map(of_package));
    let mut dependencies: Vec<Value> = crates.iter().map(|(id, one)| uses(id, one)).collect();
    let beside = packages.iter().map(package_url).chain(["rust-std".to_owned()]);
    if let Some(own) = dependencies.iter_mut().find(|it| it["ref"] == reference(&program))
        && let Some(list) = own["dependsOn"].as_array_mut()
    {
        list.extend(beside.map(Value::from));
    }
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "tools": {"components": [{"type": "application", "name": "cargo xtask image"}]},
            "component": {
                "type": "application", "bom-ref": reference(&program), "name": "heddle", "version": subject.version,
                "purl": reference(&program),
                "licenses": [{"expression": "Apache-2.0 OR MIT"}],
                "properties": [{"name": "heddle:revision", "value": subject.revision}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    format!("{bill:#}\n")
}

fn of_crate(id: &Id, one: &Crate) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": reference(id), "name": id.0, "version": id.1, "purl": reference(id),
        "scope": if one.is_linked { "required" } else { "excluded" },
    });
    if let Some(licence) = &one.licence {
        component["licenses"] = json!([{"expression": licence}]);
    }
    if let Some(checksum) = &one.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

fn of_package(package: &Package) -> Value {
    json!({
        "type": "library", "bom-ref": package_url(package), "name": package.name, "version": package.version,
        "purl": package_url(package), "scope": "required",
    })
}

fn uses(id: &Id, one: &Crate) -> Value {
    json!({"ref": reference(id), "dependsOn": one.uses.iter().map(reference).collect::<Vec<_>>()})
}

/// The package URL, by which the components name each other too.
fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", escaped(version))
}

fn package_url(Package { name, version, architecture, .. }: &Package) -> String {
    let distribution = distribution().map(|name| format!("&distro={name}")).unwrap_or_default();
    format!("pkg:deb/debian/{}@{}?arch={architecture}{distribution}", escaped(name), escaped(version))
}

/// What versions have in them and a package URL does not take as it is.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeSet, path::PathBuf};

    use super::*;

    fn one(is_linked: bool, uses: &[&Id]) -> Crate {
        Crate {
            licence: Some("MIT".to_owned()),
            checksum: Some("c0ffee".repeat(8)),
            folder: PathBuf::new(),
            is_linked,
            uses: uses.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>(),
        }
    }

    #[test]
    fn what_is_linked_what_only_built_and_what_is_beside_are_told_apart() {
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let (heddle, cc, yaml) = (id("heddle", "0.1.0"), id("cc", "1.0.0"), id("yaml", "0.9.0+old"));
        let crates = BTreeMap::from([
            (heddle.clone(), one(true, &[&yaml])),
            (cc, one(false, &[])),
            (yaml.clone(), one(true, &[])),
        ]);
        let libc = Package {
            name: "libc6".to_owned(),
            version: "2.36-9+deb12u1".to_owned(),
            architecture: "amd64".to_owned(),
            copyright: String::new(),
        };
        let subject =
            Subject { version: "0.1.0", revision: "abc", created: "2026-01-01T00:00:00Z", compiler: "1.95.0" };
        let bill: Value = serde_json::from_str(&bill(&subject, &crates, &[libc])).unwrap();
        let components = bill["components"].as_array().unwrap();
        let scopes: Vec<_> = components.iter().map(|it| (it["name"].as_str(), it["scope"].as_str())).collect();
        let required = |name| (Some(name), Some("required"));
        assert_eq!(scopes, [(Some("cc"), Some("excluded")), required("yaml"), required("rust-std"), required("libc6")]);
        assert_eq!(components[1]["purl"], "pkg:cargo/yaml@0.9.0%2Bold");
        let own = bill["dependencies"].as_array().unwrap().iter().find(|it| it["ref"] == reference(&heddle)).unwrap();
        assert!(own["dependsOn"].as_array().unwrap().contains(&reference(&yaml).into()), "{own}");
        assert!(own["dependsOn"].to_string().contains("pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64"), "{own}");
    }
}
