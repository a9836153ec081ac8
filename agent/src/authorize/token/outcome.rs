//! What looking for a token comes to, and the closed list of reasons why one is not believed.

use std::fmt;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::places::PlaceFound;
use crate::{mesh::TokenRule, objects::ObjectName};

/// What became of the token of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It has none, or nobody looks for one. It passes, and its sender is nobody.
    NoToken,
    /// It has one that is believed.
    Verified(Box<VerifiedToken>),
    /// It has one that is not: the request is not to reach the application.
    Refused(Refusal),
}

/// A token whose signature, issuer, audience and time were found right. There is no other way to have one.
#[derive(Debug)]
pub struct VerifiedToken {
    pub(super) rule: TokenRule,
    pub(super) issuer: String,
    pub(super) subject: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) presenter: Option<String>,
    pub(super) claims: Map<String, Value>,
    pub(super) outputs: Vec<(HeaderName, HeaderValue)>,
    pub(super) places: Vec<PlaceFound>,
}

/// Why a request is not let through.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(super) reason: Reason,
    pub(super) rule: Option<TokenRule>,
    pub(super) keys_may_be_old: bool,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $challenge:literal;)+) => {
        /// Why a token is not believed, the later the further it came.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason as a label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            fn challenge(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("Bearer error=\"invalid_token\", error_description=\"", $challenge, "\""),)+
                }
            }
        }
    };
}

reasons! {
    /// The request has two tokens that differ.
    SeveralTokens = "several_tokens", "more than one token; send one";
    /// It is longer than [`super::LONGEST_TOKEN`].
    TooLong = "too_long", "the token is too long";
    /// It is no signed JSON Web Token.
    Malformed = "malformed", "not a signed JSON Web Token";
    /// It demands to be understood in a way that is not known here (`crit`, RFC 7515, section 4.1.11).
    CriticalHeader = "critical_header", "the token has a critical header that is not supported";
    /// No rule that looks where the token was believes its issuer.
    UnknownIssuer = "unknown_issuer", "the issuer is not accepted here";
    /// Its time is over, by more than the clocks may differ.
    Expired = "expired", "the token has expired";
    /// Its time has not come yet.
    NotYetValid = "not_yet_valid", "the token is not valid yet";
    /// It is for others.
    WrongAudience = "wrong_audience", "the token is for another audience";
    /// The issuer's keys could not be had yet. 401 as with Istio: the token is not believed.
    KeysUnavailable = "keys_unavailable", "the issuer's keys are not known yet; try again later";
    /// No key of the issuer has the id, or none is of the kind.
    UnknownKey = "unknown_key", "signed with a key that the issuer does not publish";
    /// It is not signed, by a shared secret, or in another way than its key is for.
    AlgorithmNotAllowed = "algorithm_not_allowed", "the signature algorithm is not accepted";
    /// The signature is not that of the issuer.
    BadSignature = "bad_signature", "the signature is wrong";
}

impl Outcome {
    /// The token, if there is one to be believed.
    pub fn token(&self) -> Option<&VerifiedToken> {
        match self {
            Self::Verified(token) => Some(token),
            Self::NoToken | Self::Refused(_) => None,
        }
    }
}

impl VerifiedToken {
    /// `iss/sub`, the request principal of policies. A token without a subject is of no principal.
    pub fn principal(&self) -> Option<String> {
        Some(format!("{}/{}", self.issuer, self.subject.as_ref()?))
    }

    /// `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `aud`, one or several.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// `azp`.
    pub fn presenter(&self) -> Option<&str> {
        self.presenter.as_deref()
    }

    /// All claims. Those that are lists with blanks between are lists here.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The document whose rule it was, and which of its rules.
    pub fn rule(&self) -> (&ObjectName, usize) {
        (self.rule.document(), self.rule.index())
    }
}

impl Refusal {
    /// Before any rule was asked.
    pub(super) fn of_request(reason: Reason) -> Self {
        Self { reason, rule: None, keys_may_be_old: false }
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The document whose rule came closest to believing the token, and which of its rules; none where no rule has the issuer.
    pub fn rule(&self) -> Option<(&ObjectName, usize)> {
        self.rule.as_ref().map(|rule| (rule.document(), rule.index()))
    }

    /// What the client is answered.
    pub fn status(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }

    /// The header `WWW-Authenticate` of the answer (RFC 6750, section 3). It says nothing that the client does not know.
    pub fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(self.reason.challenge())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        match self.rule() {
            Some((document, index)) => write!(f, " (RequestAuthentication {document}, jwtRules[{index}])"),
            None => Ok(()),
        }
    }
}
