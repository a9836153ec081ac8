//! The fields of sources and operations by name: what each asks for, and whether only a request tells it.

use super::{AccessRule, AddressAttribute, Condition, Operation, Source, TextAttribute};

/// Declares the fields of a part of a rule. A field that the part has and the list has not does not compile.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident of $part:ident { $($variant:ident = $text:literal, $field:ident, $of_requests:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = concat!("`", $text, "`.")] $variant,)+ }

        impl $name {
            /// Every field, in the order in which they are looked at.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The field as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Whether only an HTTP request tells what it asks for.
            pub fn is_of_requests(self) -> bool {
                match self { $(Self::$variant => $of_requests,)+ }
            }

            /// Whether it has entries.
            pub fn is_in(self, part: &$part) -> bool {
                let $part { $($field,)+ } = part;
                match self { $(Self::$variant => !$field.is_empty(),)+ }
            }

            /// Its entries, as they are written.
            pub fn entries(self, part: &$part) -> Vec<String> {
                match self { $(Self::$variant => part.$field.iter().map(ToString::to_string).collect(),)+ }
            }
        }
    };
}

fields! {
    /// A field of a [`Source`].
    SourceField of Source {
        Principals = "principals", principals, false;
        NotPrincipals = "notPrincipals", not_principals, false;
        Namespaces = "namespaces", namespaces, false;
        NotNamespaces = "notNamespaces", not_namespaces, false;
        ServiceAccounts = "serviceAccounts", service_accounts, false;
        NotServiceAccounts = "notServiceAccounts", not_service_accounts, false;
        IpBlocks = "ipBlocks", ip_blocks, false;
        NotIpBlocks = "notIpBlocks", not_ip_blocks, false;
        RemoteIpBlocks = "remoteIpBlocks", remote_ip_blocks, false;
        NotRemoteIpBlocks = "notRemoteIpBlocks", not_remote_ip_blocks, false;
        RequestPrincipals = "requestPrincipals", request_principals, true;
        NotRequestPrincipals = "notRequestPrincipals", not_request_principals, true;
    }
}

fields! {
    /// A field of an [`Operation`].
    OperationField of Operation {
        Ports = "ports", ports, false;
        NotPorts = "notPorts", not_ports, false;
        Hosts = "hosts", hosts, true;
        NotHosts = "notHosts", not_hosts, true;
        Methods = "methods", methods, true;
        NotMethods = "notMethods", not_methods, true;
        Paths = "paths", paths, true;
        NotPaths = "notPaths", not_paths, true;
    }
}

impl AccessRule {
    /// Whether anything in it, a negation too, is told by HTTP requests only.
    pub fn asks_of_requests(&self) -> bool {
        self.from.iter().any(|from| source_fields(&from.source).next().is_some())
            || self.to.iter().any(|to| operation_fields(&to.operation).next().is_some())
            || self.when.iter().any(Condition::is_of_requests)
    }

    /// Where it asks for what HTTP requests only tell, such as `from[0].source.requestPrincipals`.
    pub fn asked_of_requests(&self) -> Vec<String> {
        let from = self.from.iter().enumerate().flat_map(|(index, from)| {
            source_fields(&from.source).map(move |field| format!("from[{index}].source.{}", field.as_str()))
        });
        let to = self.to.iter().enumerate().flat_map(|(index, to)| {
            operation_fields(&to.operation).map(move |field| format!("to[{index}].operation.{}", field.as_str()))
        });
        let when = self.when.iter().enumerate().filter(|(_, condition)| condition.is_of_requests());
        from.chain(to).chain(when.map(|(index, condition)| format!("when[{index}] ({})", condition.key()))).collect()
    }
}

fn source_fields(source: &Source) -> impl Iterator<Item = SourceField> {
    SourceField::ALL.iter().copied().filter(|field| field.is_of_requests() && field.is_in(source))
}

fn operation_fields(operation: &Operation) -> impl Iterator<Item = OperationField> {
    OperationField::ALL.iter().copied().filter(|field| field.is_of_requests() && field.is_in(operation))
}

impl Condition {
    /// Whether only an HTTP request tells its attribute.
    pub fn is_of_requests(&self) -> bool {
        match self {
            Self::Text(attribute, _) => match attribute {
                TextAttribute::RequestHeader(_)
                | TextAttribute::RequestPrincipal
                | TextAttribute::RequestAudiences
                | TextAttribute::RequestPresenter
                | TextAttribute::RequestClaim(_) => true,
                TextAttribute::SourceNamespace | TextAttribute::SourcePrincipal | TextAttribute::ConnectionSni => false,
            },
            Self::Address(AddressAttribute::Source | AddressAttribute::Remote | AddressAttribute::Destination, _)
            | Self::ServiceAccount(_)
            | Self::Port(_) => false,
        }
    }

    /// The attribute, as it is written.
    pub fn key(&self) -> String {
        match self {
            Self::Text(attribute, _) => attribute.to_string(),
            Self::Address(attribute, _) => attribute.to_string(),
            Self::ServiceAccount(_) => "source.serviceAccount".to_owned(),
            Self::Port(_) => "destination.port".to_owned(),
        }
    }

    /// `values` and `notValues`, as they are written.
    pub fn entries(&self) -> [Vec<String>; 2] {
        match self {
            Self::Text(_, values) => values.entries(),
            Self::Address(_, values) => values.entries(),
            Self::ServiceAccount(values) => values.entries(),
            Self::Port(values) => values.entries(),
        }
    }
}
