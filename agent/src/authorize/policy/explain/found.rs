//! What a connection or request has, in words. Credentials are not shown.

use http::{HeaderName, header};
use serde_json::Value;

use crate::{
    authorize::policy::{RequestFacts, question::Question},
    mesh::SpiffeId,
    rules::authorization_policy::{AddressAttribute, Condition, OperationField, SourceField, TextAttribute},
};

/// Headers whose values let whoever reads them act as somebody else.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// Clients decide how long these are.
const LONGEST: usize = 256;

impl Question<'_> {
    pub(super) fn found_of_source(&self, field: SourceField) -> String {
        match field {
            SourceField::Principals | SourceField::NotPrincipals => self.identity(principal),
            SourceField::Namespaces | SourceField::NotNamespaces => {
                self.identity(|identity| identity.namespace().to_string())
            }
            SourceField::ServiceAccounts | SourceField::NotServiceAccounts => self.identity(account),
            SourceField::IpBlocks | SourceField::NotIpBlocks => self.facts.source.to_canonical().to_string(),
            SourceField::RemoteIpBlocks | SourceField::NotRemoteIpBlocks => {
                self.facts.remote.to_canonical().to_string()
            }
            SourceField::RequestPrincipals | SourceField::NotRequestPrincipals => self.request_principal(),
        }
    }

    pub(super) fn found_of_operation(&self, field: OperationField) -> String {
        match field {
            OperationField::Ports | OperationField::NotPorts => self.facts.destination.port().to_string(),
            OperationField::Hosts | OperationField::NotHosts => self.request(|request| quoted(request.host)),
            OperationField::Methods | OperationField::NotMethods => self.request(|request| quoted(request.method)),
            OperationField::Paths | OperationField::NotPaths => self.request(|request| quoted(request.path_alone())),
        }
    }

    pub(super) fn found_of_condition(&self, condition: &Condition) -> String {
        match condition {
            Condition::Text(attribute, _) => self.found_text(attribute),
            Condition::Address(AddressAttribute::Source, _) => self.facts.source.to_canonical().to_string(),
            Condition::Address(AddressAttribute::Remote, _) => self.facts.remote.to_canonical().to_string(),
            Condition::Address(AddressAttribute::Destination, _) => {
                self.facts.destination.ip().to_canonical().to_string()
            }
            Condition::ServiceAccount(_) => self.identity(account),
            Condition::Port(_) => self.facts.destination.port().to_string(),
        }
    }

    fn found_text(&self, attribute: &TextAttribute) -> String {
        match attribute {
            TextAttribute::SourcePrincipal => self.identity(principal),
            TextAttribute::SourceNamespace => self.identity(|identity| identity.namespace().to_string()),
            TextAttribute::ConnectionSni => self.facts.sni.map_or_else(|| "no server name".to_owned(), quoted),
            TextAttribute::RequestPrincipal => self.request_principal(),
            TextAttribute::RequestAudiences => self.claim(&["aud"]),
            TextAttribute::RequestPresenter => self.claim(&["azp"]),
            TextAttribute::RequestClaim(path) => self.claim(path),
            TextAttribute::RequestHeader(name) => self.request(|request| header(request, name)),
        }
    }

    fn identity(&self, of: impl Fn(&SpiffeId) -> String) -> String {
        self.facts.identity.map_or_else(|| "no identity, since it is plaintext".to_owned(), of)
    }

    fn request(&self, of: impl Fn(&RequestFacts<'_>) -> String) -> String {
        self.facts.request.map_or_else(|| "no request".to_owned(), of)
    }

    fn request_principal(&self) -> String {
        self.request(|request| match request.token {
            None => "no token".to_owned(),
            Some(token) => token.principal().map_or_else(
                || "a token without issuer or subject".to_owned(),
                |principal| quoted(&principal.concat()),
            ),
        })
    }

    fn claim(&self, path: &[impl AsRef<str>]) -> String {
        self.request(|request| match request.token {
            None => "no token".to_owned(),
            Some(token) => token.claim(path).map_or_else(|| "no such claim".to_owned(), json),
        })
    }
}

fn principal(identity: &SpiffeId) -> String {
    format!("{}/ns/{}/sa/{}", identity.trust_domain(), identity.namespace(), identity.service_account())
}

fn account(identity: &SpiffeId) -> String {
    format!("{}/{}", identity.namespace(), identity.service_account())
}

fn header(request: &RequestFacts<'_>, name: &HeaderName) -> String {
    let values: Vec<String> = request.header(name).map(|value| quoted(&String::from_utf8_lossy(value))).collect();
    match values.len() {
        0 => "no such header".to_owned(),
        count if CREDENTIALS.contains(name) => format!("{count} of it, not shown"),
        _ => shortened(values.join(", ")),
    }
}

fn json(value: &Value) -> String {
    shortened(value.to_string())
}

fn quoted(text: &str) -> String {
    shortened(format!("{text:?}"))
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
