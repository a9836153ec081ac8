//! What is asked: who talks to whom, and what they say. Read from the flags of `heddle explain` and from the query of
//! `/explain` alike, so that both refuse the same.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Headers of one question: more than any browser sends.
const MOST_HEADERS: usize = 64;

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The client.
    pub from: Origin,
    /// What it dials.
    pub to: Target,
    /// What it says then; `None` where that is left open.
    pub says: Option<Says>,
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Whoever has this address.
    Address(IpAddr),
}

/// What a client dials: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was written, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What a client says on its connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// An HTTP request.
    Request(Box<Asked>),
    /// TLS of its own, with this server name.
    Tls(Option<String>),
    /// Something else.
    Bytes,
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers, `Host` among them where it was given.
    pub headers: HeaderMap,
}

/// A question as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// `NAMESPACE/POD`, or an address.
    pub from: String,
    /// `HOST:PORT`.
    pub to: String,
    /// The method.
    pub method: Option<String>,
    /// The path, with its query.
    pub path: Option<String>,
    /// Headers, each as `name: value`.
    pub headers: Vec<String>,
    /// The server name of TLS of the client's own.
    pub sni: Option<String>,
    /// It says something that is no HTTP.
    pub bytes: bool,
}

/// Why a question cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// Not a client.
    #[error("from {0:?} is neither NAMESPACE/POD nor an address; write for example --from shop/web-7c9f")]
    From(String),
    /// Not a destination.
    #[error("to {0:?} is not HOST:PORT; write for example --to web.shop:80, or --to 10.96.0.7:80")]
    To(String),
    /// Not a method.
    #[error("method {0:?} is none of HTTP; write for example GET")]
    Method(String),
    /// Not a path.
    #[error("path {0:?} begins with no slash; write for example --path /cart")]
    Path(String),
    /// Not a header.
    #[error("header {0:?} is not NAME: VALUE; write for example -H 'x-user: alice'")]
    Header(String),
    /// Too many.
    #[error("more than {MOST_HEADERS} headers")]
    TooManyHeaders,
    /// What excludes each other.
    #[error(
        "a request (method, path, header), TLS (sni) and other bytes (tcp) exclude each other; ask for one of them"
    )]
    Several,
    /// A parameter that is none.
    #[error(
        "the parameter {0:?} is not known; there are from, to, method, path, header, sni, tcp, connection and trace"
    )]
    Unknown(String),
    /// Escapes that are no text.
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
}

impl Written {
    /// Reads the pairs of a query. Others than a question's are given back.
    ///
    /// # Errors
    /// It is not encoded as it has to be.
    pub fn from_query(query: &str) -> Result<(Self, Vec<(String, String)>), BadQuestion> {
        let (mut written, mut others) = (Self::default(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
            let (key, value) = (decoded(key), decoded(value));
            let (Ok(key), Ok(value)) = (key, value) else { return Err(BadQuestion::Encoding) };
            match key.as_str() {
                "from" => written.from = value,
                "to" => written.to = value,
                "method" => written.method = Some(value),
                "path" => written.path = Some(value),
                "header" => written.headers.push(value),
                "sni" => written.sni = Some(value),
                "tcp" => written.bytes = true,
                _ => others.push((key, value)),
            }
        }
        Ok((written, others))
    }

    /// The same as a query.
    pub fn to_query(&self) -> String {
        let one = |(key, value): (&str, &str)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let optional = [("method", &self.method), ("path", &self.path), ("sni", &self.sni)];
        let mut pairs = vec![one(("from", &self.from)), one(("to", &self.to))];
        pairs.extend(optional.into_iter().filter_map(|(key, value)| value.as_deref().map(|value| one((key, value)))));
        pairs.extend(self.headers.iter().map(|header| one(("header", header))));
        pairs.extend(self.bytes.then(|| "tcp=true".to_owned()));
        pairs.join("&")
    }

    /// Understands it.
    ///
    /// # Errors
    /// It is none.
    pub fn understood(&self) -> Result<Question, BadQuestion> {
        let says_request = self.method.is_some() || self.path.is_some() || !self.headers.is_empty();
        if u8::from(says_request) + u8::from(self.sni.is_some()) + u8::from(self.bytes) > 1 {
            return Err(BadQuestion::Several);
        }
        let says = match (says_request, &self.sni, self.bytes) {
            (true, ..) => Some(Says::Request(Box::new(self.asked()?))),
            (_, Some(name), _) => Some(Says::Tls((!name.is_empty()).then(|| name.clone()))),
            (_, _, true) => Some(Says::Bytes),
            _ => None,
        };
        Ok(Question { from: self.from.parse()?, to: self.to.parse()?, says })
    }

    fn asked(&self) -> Result<Asked, BadQuestion> {
        let method = self.method.as_deref().unwrap_or("GET");
        let path = self.path.clone().unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') && path != "*" {
            return Err(BadQuestion::Path(path));
        }
        if self.headers.len() > MOST_HEADERS {
            return Err(BadQuestion::TooManyHeaders);
        }
        let mut headers = HeaderMap::new();
        for line in &self.headers {
            let bad = || BadQuestion::Header(line.split(':').next().unwrap_or_default().to_owned());
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            let value: HeaderValue = value.trim().parse().map_err(|_| bad())?;
            headers.append(name, value);
        }
        let method = method.parse().map_err(|_| BadQuestion::Method(method.to_owned()))?;
        Ok(Asked { method, path, headers })
    }
}

impl Asked {
    /// What is asked where nothing is said.
    pub fn root() -> Self {
        Self { method: Method::GET, path: "/".to_owned(), headers: HeaderMap::new() }
    }
}

impl FromStr for Origin {
    type Err = BadQuestion;

    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self::Pod { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(BadQuestion::From(text.to_owned())),
        }
    }
}

impl FromStr for Target {
    type Err = BadQuestion;

    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        let bad = || BadQuestion::To(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_address = host.parse::<IpAddr>().is_ok();
        let is_name = !host.is_empty() && host.len() <= 254;
        let is_name = is_name && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_address && !is_name {
            return Err(bad());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)?;
        match &self.says {
            None => Ok(()),
            Some(Says::Request(asked)) => write!(f, ", {} {}", asked.method, asked.path),
            Some(Says::Tls(Some(name))) => write!(f, ", TLS for {name}"),
            Some(Says::Tls(None)) => f.write_str(", TLS without a server name"),
            Some(Says::Bytes) => f.write_str(", no HTTP"),
        }
    }
}
