//! A kubeconfig for one address of the server.

use anyhow::Result;
use serde_json::json;
use std::net::SocketAddr;

/// The YAML text; everything is inside, no further file is needed.
pub(super) fn kubeconfig(address: SocketAddr, ca_pem: &str, token: &str) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{
            "name": "test",
            "cluster": {
                "server": format!("https://{address}"), "certificate-authority-data": base64(ca_pem.as_bytes()),
            },
        }],
        "users": [{"name": "test", "user": {"token": token}}],
    });
    Ok(serde_saphyr::to_string(&config)?)
}

/// Base 64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4usize {
            let digit = bits >> (18 - 6 * at) & 63;
            text.push(if at <= group.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_examples_of_rfc_4648() {
        for (plain, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), expected);
        }
    }
}
