//! Asks the name servers of the machine, as its `resolv.conf` lists them.
//!
//! The file is looked at before each question and read again when it has changed. Of what it says, search domains are not
//! used; the hosts file is not read.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use futures_util::{FutureExt, future::BoxFuture};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::ResolveHosts,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
    system_conf::parse_resolv_conf,
};
use parking_lot::Mutex;

use super::{Answer, Lookup, LookupError, Question};
use crate::mesh::AddressFamily;

/// The resolver of the machine.
#[derive(Debug)]
pub struct SystemResolver {
    path: PathBuf,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    version: Version,
    resolver: TokioResolver,
}

/// Tells two versions of a file apart: written in place, or another one renamed over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    inode: u64,
    length: u64,
}

impl SystemResolver {
    /// With this file in place of `/etc/resolv.conf`. It is read when the first question is asked.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), current: Mutex::new(None) }
    }

    /// For the configuration as it is now.
    fn resolver(&self) -> Result<TokioResolver, LookupError> {
        let unreadable = |source| LookupError::Unreadable { path: self.path.clone(), source };
        let version = Version::of(&self.path).map_err(unreadable)?;
        let mut current = self.current.lock();
        if let Some(current) = current.as_ref().filter(|current| current.version == version) {
            return Ok(current.resolver.clone());
        }
        let text = fs::read(&self.path).map_err(unreadable)?;
        let resolver = build(&text).map_err(|source| LookupError::Unusable { path: self.path.clone(), source })?;
        *current = Some(Current { version, resolver: resolver.clone() });
        Ok(resolver)
    }
}

impl Version {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { modified: metadata.modified()?, inode: metadata.ino(), length: metadata.len() })
    }
}

impl Lookup for SystemResolver {
    fn lookup(&self, question: &Question) -> BoxFuture<'static, Result<Answer, LookupError>> {
        let resolver = self.resolver();
        let question = question.clone();
        async move { ask(&resolver?, &question).await }.boxed()
    }
}

fn build(text: &[u8]) -> Result<TokioResolver, NetError> {
    let (config, mut options) = parse_resolv_conf(text)?;
    // When to ask again is decided by the caller.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

async fn ask(resolver: &TokioResolver, question: &Question) -> Result<Answer, LookupError> {
    let record_type = match question.family {
        AddressFamily::V4 => RecordType::A,
        AddressFamily::V6 => RecordType::AAAA,
    };
    // The dot at the end keeps search domains away.
    let name = format!("{}.", question.name.trim_end_matches('.'));
    match resolver.lookup(name, record_type).await {
        Ok(found) => {
            let addresses = found.answers().iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(address.0.into()),
                RData::AAAA(address) => Some(address.0.into()),
                _ => None,
            });
            let time_to_live = found.valid_until().saturating_duration_since(Instant::now());
            Ok(Answer { addresses: addresses.collect(), time_to_live })
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let seconds = none.negative_ttl.unwrap_or_default();
            Ok(Answer { addresses: Default::default(), time_to_live: std::time::Duration::from_secs(seconds.into()) })
        }
        Err(error) => Err(error.into()),
    }
}
