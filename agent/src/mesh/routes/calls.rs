//! An index of gRPC matches by service and method, as `paths` is one by path.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::rules::grpc_route::{GrpcMatch, GrpcMethodMatch};

type Numbers = Vec<u32>;

/// Matches by the names that are written out in them.
#[derive(Clone, Debug, Default)]
pub(super) struct CallIndex {
    by_service: HashMap<Box<str>, OfService, RandomState>,
    by_method: HashMap<Box<str>, Numbers, RandomState>,
    /// Expressions, then matches of every call.
    others: Numbers,
}

#[derive(Clone, Debug, Default)]
struct OfService {
    by_method: HashMap<Box<str>, Numbers, RandomState>,
    every_method: Numbers,
}

impl CallIndex {
    pub(super) fn insert(&mut self, one: &GrpcMatch, number: u32) {
        let (service, method) = match &one.method {
            Some(GrpcMethodMatch::Exact { service, method }) => (service.as_deref(), method.as_deref()),
            Some(GrpcMethodMatch::RegularExpression { .. }) | None => (None, None),
        };
        let numbers = match (service, method) {
            (Some(service), Some(method)) => {
                self.by_service.entry(service.into()).or_default().by_method.entry(method.into()).or_default()
            }
            (Some(service), None) => &mut self.by_service.entry(service.into()).or_default().every_method,
            (None, Some(method)) => self.by_method.entry(method.into()).or_default(),
            (None, None) => &mut self.others,
        };
        numbers.push(number);
    }

    /// The matches that a call may have, in the order of precedence.
    pub(super) fn candidates<'i>(&'i self, service: &str, method: &str) -> impl Iterator<Item = u32> + use<'i> {
        let of_service = self.by_service.get(service);
        let both = of_service.and_then(|of| of.by_method.get(method)).into_iter().flatten();
        let service = of_service.into_iter().flat_map(|of| &of.every_method);
        let method = self.by_method.get(method).into_iter().flatten();
        both.chain(service).chain(method).chain(&self.others).copied()
    }
}
