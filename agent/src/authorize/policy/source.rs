//! Who: the fields of a source, and the identities that they compare.

use super::{
    address::is_within,
    question::{Question, none_of, one_of},
    text::Pieces,
};
use crate::{
    mesh::SpiffeId,
    rules::{
        authorization_policy::{OWN_DOMAIN, ServiceAccountMatch, Source, SourceField},
        value::StringMatch,
    },
};

impl Question<'_> {
    /// The first field that is not met.
    pub(super) fn unmet_of_source(&self, source: &Source) -> Option<SourceField> {
        SourceField::ALL.iter().copied().find(|field| !self.meets_source(*field, source))
    }

    fn meets_source(&self, field: SourceField, source: &Source) -> bool {
        if self.is_out_of_sight(field.is_of_requests()) {
            return true;
        }
        let facts = self.facts;
        match field {
            SourceField::Principals => one_of(&source.principals, |wanted| self.has_principal(wanted)),
            SourceField::NotPrincipals => none_of(&source.not_principals, |wanted| self.has_principal(wanted)),
            SourceField::Namespaces => one_of(&source.namespaces, |wanted| self.has_namespace(wanted)),
            SourceField::NotNamespaces => none_of(&source.not_namespaces, |wanted| self.has_namespace(wanted)),
            SourceField::ServiceAccounts => one_of(&source.service_accounts, |wanted| self.has_account(wanted)),
            SourceField::NotServiceAccounts => none_of(&source.not_service_accounts, |wanted| self.has_account(wanted)),
            SourceField::IpBlocks => one_of(&source.ip_blocks, |network| is_within(network, facts.source)),
            SourceField::NotIpBlocks => none_of(&source.not_ip_blocks, |network| is_within(network, facts.source)),
            SourceField::RemoteIpBlocks => one_of(&source.remote_ip_blocks, |network| is_within(network, facts.remote)),
            SourceField::NotRemoteIpBlocks => {
                none_of(&source.not_remote_ip_blocks, |network| is_within(network, facts.remote))
            }
            SourceField::RequestPrincipals => {
                one_of(&source.request_principals, |wanted| self.has_request_principal(wanted))
            }
            SourceField::NotRequestPrincipals => {
                none_of(&source.not_request_principals, |wanted| self.has_request_principal(wanted))
            }
        }
    }

    /// The names of the own trust domain are one and the same: a policy that names one of them means them all.
    pub(super) fn has_principal(&self, wanted: &StringMatch) -> bool {
        let Some(identity) = self.facts.identity else { return false };
        let is_wanted = |domain: &str| principal(domain, identity).match_with(wanted);
        if is_wanted(identity.trust_domain().as_str()) {
            return true;
        }
        let mut names = self.domains.names();
        if !names.any(|name| name == identity.trust_domain()) {
            return false;
        }
        match wanted {
            StringMatch::Exact(text) | StringMatch::Prefix(text) => {
                // `cluster.loc*` names no domain, but texts.
                let Some((named, _)) = text.split_once('/') else { return false };
                let is_own = named == OWN_DOMAIN || self.domains.names().any(|name| name.as_str() == named);
                is_own && is_wanted(named)
            }
            StringMatch::Suffix(_) => self.domains.names().any(|name| is_wanted(name.as_str())),
            StringMatch::Present => true,
        }
    }

    pub(super) fn has_namespace(&self, wanted: &StringMatch) -> bool {
        self.facts.identity.is_some_and(|identity| wanted.matches(identity.namespace()))
    }

    /// Of whatever trust domain.
    pub(super) fn has_account(&self, wanted: &ServiceAccountMatch) -> bool {
        let namespace = wanted.namespace.as_deref().unwrap_or(&self.policy.name.namespace);
        self.facts.identity.is_some_and(|identity| {
            **identity.namespace() == *namespace && **identity.service_account() == *wanted.name
        })
    }

    pub(super) fn has_request_principal(&self, wanted: &StringMatch) -> bool {
        let token = self.facts.request.and_then(|request| request.token);
        token.and_then(|token| token.principal()).is_some_and(|principal| Pieces(principal).match_with(wanted))
    }
}

/// An identity as policies write it, without its scheme.
fn principal<'a>(domain: &'a str, identity: &'a SpiffeId) -> Pieces<'a, 5> {
    Pieces([domain, "/ns/", identity.namespace(), "/sa/", identity.service_account()])
}
