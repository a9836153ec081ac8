//! Any bytes as what comes from outside: what `cargo xtask fuzz` and a test feed mutated inputs to.
//!
//! In: bytes, and random numbers. Out: what became of them, or which promise of their readers they break. A [`Target`] is
//! the readers of one kind of input and what is promised of them; where readers are private it stands beside them, in a
//! module of this name. It decides nothing for an agent, and is part of the library so that it reaches the readers as the
//! agent does.

mod admin;
mod certificate;
mod corpus;
mod der;
mod head;
mod mutate;
mod path;
mod settings;
#[cfg(test)]
mod tests;
mod token;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::runtime::Runtime;

pub(crate) use head::normalized;
pub use mutate::Mutator;
pub(crate) use mutate::lines;

/// What became of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exercised {
    /// How much of it was taken for what it should be: rules, requests, certificates.
    pub accepted: usize,
    /// How it was read, in few words each: inputs that differ in them took different ways.
    pub ways: Vec<String>,
}

/// How something was read, in few words, or why it was not.
pub(crate) type Reading = Result<String, String>;

/// Readers of one kind of input.
pub trait Target {
    /// Gives them an input. They must not panic.
    ///
    /// # Errors
    /// The promise that it breaks, and what was found.
    fn exercise(&self, input: &[u8], rng: &mut Rng) -> Result<Exercised, String>;

    /// How inputs are changed.
    fn mutator(&self) -> &Mutator;

    /// What to begin with, made of the inputs that are kept.
    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        kept
    }

    /// A changed copy of an input; parts of `other` may come into it. The same generator state gives the same change.
    fn mutate(&self, rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
        self.mutator().mutate(rng, input, other)
    }
}

macro_rules! targets {
    ($($(#[doc = $doc:literal])* $name:ident = $label:literal, $make:expr;)+) => {
        /// Every target.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
        pub enum Name { $($(#[doc = $doc])* $name,)+ }

        impl Name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it is called.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// Its readers, with whatever they need around them. The runtime is of one thread, with its clock paused: what waits
            /// for ever is told at once, as what waited too long.
            pub fn target(self, runtime: Runtime) -> Box<dyn Target> {
                match self { $(Self::$name => Box::new(($make)(runtime)),)+ }
            }
        }
    };
}

targets! {
    /// Mesh documents and Kubernetes objects
    Config = "config", |_| crate::check::fuzz::Documents::new();
    /// agent.yaml and the configuration of the authority
    Settings = "settings", |_| settings::Settings;
    /// What clients send first: HTTP/1 requests, TLS hellos, anything
    Http = "http", crate::connect::http::fuzz::FirstBytes;
    /// Frames of HTTP/2, as a server and as the end of a tunnel
    Http2 = "http2", crate::connect::http::fuzz::Frames;
    /// Heads of requests: whom they are for, whom they claim to be, traces, cookies
    Head = "head", |_| head::Heads::new();
    /// Tokens of requests, and sets of keys
    Token = "token", |_| token::Tokens::new();
    /// Certificates, identities, revocation lists, signing requests, answers of an authority
    Certificate = "certificate", |_| certificate::Certificates::new();
    /// What operators ask and keep: queries, recorded flows, the state on disk
    Admin = "admin", |_| admin::Admin::new();
    /// What the kernel answers: netlink, packets, files of /proc
    Kernel = "kernel", |_| crate::capture::fuzz::KernelAnswers;
}

impl Name {
    /// The inputs that are kept in the source tree: the same in every run, whatever the file system's order.
    ///
    /// # Errors
    /// They cannot be read: this is not the machine that it was compiled on.
    pub fn kept(self) -> io::Result<Vec<Vec<u8>>> {
        corpus::read(self)
    }

    /// Where more of them are to be put.
    pub fn corpus(self) -> std::path::PathBuf {
        corpus::folder(self)
    }
}

/// Gives a target an input, whatever becomes of it.
///
/// # Errors
/// The promise that is broken; a panic and taking too long break one, too.
pub fn attempt(target: &dyn Target, input: &[u8], seed: u64) -> Result<Exercised, String> {
    let begun = Instant::now();
    let exercise = || target.exercise(input, &mut Rng::with_seed(seed));
    let outcome = catch_unwind(AssertUnwindSafe(exercise)).unwrap_or_else(|_| Err("a reader panicked".to_owned()));
    match begun.elapsed() {
        took if took > LONGEST => Err(format!("took {} ms", took.as_millis())),
        _ => outcome,
    }
}

/// A thousand times of what an input takes: on a busy machine it is not reached by chance.
const LONGEST: Duration = Duration::from_secs(5);

/// What a message says, whatever it says it about: without numbers, and without what is quoted.
pub(crate) fn gist(message: &str) -> String {
    let (mut quote, mut escaped) = (None, false);
    let outside = |c: &char| {
        let is_escaped = escaped;
        escaped = *c == '\\' && !is_escaped;
        match (quote, c) {
            (None, '"' | '`') => quote = Some(*c),
            (Some(open), c) if open == *c && !is_escaped => quote = None,
            (None, c) => return !c.is_ascii_digit(),
            (Some(_), _) => {}
        }
        false
    };
    message.lines().next().unwrap_or_default().chars().filter(outside).collect()
}
