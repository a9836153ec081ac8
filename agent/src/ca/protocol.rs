//! Istio's protocol for signing requests, `istio.v1.auth.IstioCertificateService`: the messages that both ends speak.
//!
//! It has one unary method. The caller proves who it is by a bearer token in `authorization`, and may ask in the name of a
//! workload by [`IMPERSONATED_IDENTITY`]. Authorities of Istio, cert-manager's istio-csr and `heddle ca` serve it alike.

/// The service's full name.
pub(super) const SERVICE: &str = "istio.v1.auth.IstioCertificateService";

/// The path of its only method.
pub(super) const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// The field of [`CertificateRequest::metadata`] that names the workload which the certificate is for: a SPIFFE URI.
pub(super) const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// `IstioCertificateRequest`. Field 2 was given up upstream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CertificateRequest {
    /// PKCS#10 in PEM: an empty subject, and the identity as the only name, a critical URI.
    #[prost(string, tag = "1")]
    pub(super) csr: String,
    /// Seconds that the certificate is to be valid. An authority may give less.
    #[prost(int64, tag = "3")]
    pub(super) validity_duration: i64,
    /// Facts about the request, by name.
    #[prost(message, optional, tag = "4")]
    pub(super) metadata: Option<prost_types::Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CertificateResponse {
    /// PEM: the leaf first, then intermediates, and the roots last. An entry may hold several certificates.
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}
