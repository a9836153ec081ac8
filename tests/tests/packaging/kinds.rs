//! Each object has only fields that its kind has, as the API server would say.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Namespace, Pod, ResourceQuota, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::programs::{here, kustomize};

/// What the type makes of it: fields that it does not know are gone.
fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value> {
    Ok(serde_json::to_value(serde_json::from_value::<T>(object.clone())?)?)
}

fn through_its_kind(object: &Value) -> Result<Value> {
    match object["kind"].as_str().context("no kind")? {
        "ClusterRole" => through::<ClusterRole>(object),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(object),
        "ConfigMap" => through::<ConfigMap>(object),
        "DaemonSet" => through::<DaemonSet>(object),
        "Deployment" => through::<Deployment>(object),
        "Namespace" => through::<Namespace>(object),
        "NetworkPolicy" => through::<NetworkPolicy>(object),
        "Pod" => through::<Pod>(object),
        "PodDisruptionBudget" => through::<PodDisruptionBudget>(object),
        "ResourceQuota" => through::<ResourceQuota>(object),
        "Role" => through::<Role>(object),
        "RoleBinding" => through::<RoleBinding>(object),
        "Service" => through::<Service>(object),
        "ServiceAccount" => through::<ServiceAccount>(object),
        "ValidatingWebhookConfiguration" => through::<ValidatingWebhookConfiguration>(object),
        kind => bail!("{kind} is not among the kinds that this test knows"),
    }
}

/// Whether it has only fields of its kind. Fields that its kind has to have may be missing.
pub(crate) fn is_known(object: &Value) -> Result<bool> {
    Ok(is_part(object, &through_its_kind(object)?))
}

/// Whether all of the one is in the other, lists as a whole.
pub(crate) fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_part(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(value, other)| is_part(value, other))
        }
        _ => part == whole,
    }
}

#[test]
fn every_field_of_the_manifests_is_one_of_its_kind() -> Result<()> {
    let all = ["deploy/manifests", "deploy/uninstall"].map(|directory| kustomize(&here(directory)));
    for (name, object) in all.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        assert_eq!(
            through_its_kind(&object).context(name.clone())?,
            object,
            "{name}: as its kind has it, and as it is"
        );
    }
    Ok(())
}
