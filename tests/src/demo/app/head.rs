//! The head of an HTTP/1.1 message: its first line, and its headers.

use std::io::{BufRead, Read};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use super::MAX_BODY;

/// A head may not be larger.
const MAX_HEAD: u64 = 8 << 10;

/// A head that was read.
pub(super) struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads one, and nothing behind it.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Self> {
        let mut lines = reader.take(MAX_HEAD).lines();
        let first = lines.next().context("the connection ended")??;
        let mut headers = Vec::new();
        loop {
            let line = lines.next().context("the head is cut off")??;
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
                None if line.is_empty() => return Ok(Self { first, headers }),
                None => anyhow::bail!("no header: `{line}`"),
            }
        }
    }

    /// A word of the first line.
    pub(super) fn word(&self, number: usize) -> Option<&str> {
        self.first.split(' ').nth(number)
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// A header's value as a number; none where it is absent or something else.
    pub(super) fn number<N: FromStr>(&self, name: &str) -> Option<N> {
        self.header(name)?.parse().ok()
    }

    /// Reads the body behind it, whose length it tells.
    pub(super) fn body(&self, reader: &mut impl Read) -> Result<Vec<u8>> {
        let length = self.number("content-length").unwrap_or(0);
        ensure!(length <= MAX_BODY, "a body of {length} bytes is too long for the demo");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).context("the body is cut off")?;
        Ok(body)
    }
}
