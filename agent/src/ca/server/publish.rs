//! The ConfigMap with the certificates of all trusted roots: what agents mount to know this authority by.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::{cluster::in_words, roots::RootSource};
use crate::ca::{pem, signing::Keyring};

/// The key in it: the name that Istio's has.
const KEY: &str = "root-cert.pem";

/// Brings it up to date, if there is to be one; with `replace`, also where it has other certificates. Says what is in the
/// way.
pub(super) async fn publish(source: &RootSource, keyring: &Keyring, replace: bool) -> Result<(), String> {
    let Some(place) = &source.publish else { return Ok(()) };
    let maps: Api<ConfigMap> = Api::namespaced(source.client.clone(), &place.namespace);
    let grant = format!("grant get, create and update on configmaps in namespace {}", place.namespace);
    let failed =
        |error: kube::Error| format!("publishing the roots in ConfigMap {place}: {}", in_words(&error, &grant));
    let bundle = pem::certificates(keyring.roots());
    let found = maps.get_opt(&place.name).await.map_err(failed)?;
    let published = found.as_ref().and_then(|map| map.data.as_ref()?.get(KEY));
    if published.is_some_and(|published| *published == bundle || !replace) {
        return Ok(());
    }
    let written = match found {
        Some(mut map) => {
            map.data.get_or_insert_default().insert(KEY.to_owned(), bundle);
            maps.replace(&place.name, &PostParams::default(), &map).await
        }
        None => {
            let metadata = ObjectMeta { name: Some(place.name.clone()), ..ObjectMeta::default() };
            let data = Some(BTreeMap::from([(KEY.to_owned(), bundle)]));
            maps.create(&PostParams::default(), &ConfigMap { metadata, data, ..ConfigMap::default() }).await
        }
    };
    match written {
        // Another replica was faster, with the same; the next look compares.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop).map_err(failed),
    }
}
