//! What: the fields of an operation.

use std::num::NonZeroU16;

use super::{
    RequestFacts,
    question::{Question, none_of, one_of},
};
use crate::rules::{
    authorization_policy::{Operation, OperationField, PathMatch},
    value::StringMatch,
};

impl Question<'_> {
    /// The first field that is not met.
    pub(super) fn unmet_of_operation(&self, operation: &Operation) -> Option<OperationField> {
        OperationField::ALL.iter().copied().find(|field| !self.meets_operation(*field, operation))
    }

    fn meets_operation(&self, field: OperationField, operation: &Operation) -> bool {
        if self.is_out_of_sight(field.is_of_requests()) {
            return true;
        }
        match field {
            OperationField::Ports => one_of(&operation.ports, |port| self.has_port(*port)),
            OperationField::NotPorts => none_of(&operation.not_ports, |port| self.has_port(*port)),
            OperationField::Hosts => one_of(&operation.hosts, |wanted| self.has_host(wanted)),
            OperationField::NotHosts => none_of(&operation.not_hosts, |wanted| self.has_host(wanted)),
            OperationField::Methods => one_of(&operation.methods, |wanted| self.has_method(wanted)),
            OperationField::NotMethods => none_of(&operation.not_methods, |wanted| self.has_method(wanted)),
            OperationField::Paths => one_of(&operation.paths, |wanted| self.has_path(wanted)),
            OperationField::NotPaths => none_of(&operation.not_paths, |wanted| self.has_path(wanted)),
        }
    }

    pub(super) fn has_port(&self, port: NonZeroU16) -> bool {
        port.get() == self.facts.destination.port()
    }

    /// Compared as the request has it: `example.com` is not `example.com:8080`, for which Istio's documentation has
    /// `example.com:*` written beside it.
    fn has_host(&self, wanted: &StringMatch) -> bool {
        self.has_of_request(|request| wanted.matches_in_any_case(request.host))
    }

    fn has_method(&self, wanted: &StringMatch) -> bool {
        self.has_of_request(|request| wanted.matches(request.method))
    }

    fn has_path(&self, wanted: &PathMatch) -> bool {
        self.has_of_request(|request| wanted.matches(request.path_alone()))
    }

    fn has_of_request(&self, is_met: impl Fn(&RequestFacts<'_>) -> bool) -> bool {
        self.facts.request.is_some_and(is_met)
    }
}
