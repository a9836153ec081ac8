//! `/debug/pprof`: where this process spends CPU time, and who holds its memory, as the gzipped `profile.proto` that pprof
//! tools read.
//!
//! Addresses are not turned into names here, which would need the whole of the debug information in memory: the tool does it
//! with the agent's binary. One profile is taken at a time, and nothing is measured when none is.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{
    extract::RawQuery,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jemalloc_pprof::{PROF_CTL, StackProfile, WeightedStack};
use mappings::MAPPINGS;
use pprof::ProfilerGuardBuilder;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::sleep,
};

use super::{answer::refused, query};

/// Held by whom a profile is taken for: the timer of the process is one, and so is jemalloc's switch.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What may be asked for: a connection of an administrator lives for two minutes.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=60;

/// For a look at what a busy agent does.
const DEFAULT_SECONDS: u64 = 10;

/// Samples in each second of CPU time; not a round number, so as not to beat in time with what happens each 10 ms.
const HERTZ: i32 = 99;

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("seconds={0:?} means nothing; allowed is a whole number from 1 to 60")]
    Seconds(String),
    #[error("there is no parameter {0:?}; there is seconds")]
    Parameter(String),
    #[error("another profile is being taken; ask again when that is done")]
    Busy,
    #[error("the profiler of CPU time could not be started or read: {0}")]
    Cpu(#[from] pprof::Error),
    #[error(
        "this build of the agent takes no heap profiles: build it with JEMALLOC_SYS_WITH_MALLOC_CONF as .cargo/config.toml sets it"
    )]
    NoHeapProfiles,
    #[error(
        "jemalloc did not let itself be asked: {0}; it writes the profile to a file in $TMPDIR first: can that be written?"
    )]
    Heap(String),
}

impl IntoResponse for ProfileError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Seconds(_) | Self::Parameter(_) => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoHeapProfiles => StatusCode::NOT_IMPLEMENTED,
            Self::Cpu(_) | Self::Heap(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refused(status, self)
    }
}

/// CPU time by stack, of the next seconds.
pub(super) async fn cpu(RawQuery(query): RawQuery) -> Response {
    answer(take_cpu(query.as_deref()).await)
}

/// Bytes that were allocated in the next seconds and are still held, by the stack that allocated them. Where heap profiles were
/// switched on at the start (`_RJEM_MALLOC_CONF=prof_active:true`), all bytes that are held, at once.
pub(super) async fn heap(RawQuery(query): RawQuery) -> Response {
    answer(take_heap(query.as_deref()).await)
}

async fn take_cpu(query: Option<&str>) -> Result<Vec<u8>, ProfileError> {
    let seconds = seconds(query)?;
    let _taken = begin()?;
    // The unwinder is not interrupted by itself.
    let profiler = ProfilerGuardBuilder::default().frequency(HERTZ).blocklist(&["libgcc", "vdso"]).build()?;
    sleep(seconds).await;
    let report = profiler.report().build_unresolved()?;
    drop(profiler);
    let executable = std::env::current_exe().unwrap_or_default();
    let mut profile = StackProfile { mappings: MAPPINGS.clone().unwrap_or_default(), ..StackProfile::default() };
    let nanoseconds = 1e9 / f64::from(HERTZ);
    let mut stacks: HashMap<Vec<usize>, f64> = HashMap::new();
    for (sample, count) in report.data {
        // Some stacks end with nobody's address.
        let frames = sample.frames.iter().map(|frame| frame.ip() as usize).filter(|address| *address != 0);
        let frames: Vec<usize> = frames.collect();
        let interrupted = without_handler(&frames, |address| is_in(&profile, address, &executable));
        // A profile wants the outermost first.
        *stacks.entry(interrupted.iter().rev().copied().collect()).or_default() += count as f64 * nanoseconds;
    }
    stacks.into_iter().for_each(|(addrs, weight)| profile.push_stack(WeightedStack { addrs, weight }, None));
    Ok(profile.to_pprof(("cpu", "nanoseconds"), ("cpu", "nanoseconds"), None))
}

async fn take_heap(query: Option<&str>) -> Result<Vec<u8>, ProfileError> {
    let seconds = seconds(query)?;
    let taken = begin()?;
    // By itself: who goes away in the middle leaves nothing switched on.
    let profile = tokio::spawn(async move {
        let profile = heap_of(seconds).await;
        drop(taken);
        profile
    });
    profile.await.unwrap_or_else(|error| Err(ProfileError::Heap(error.to_string())))
}

async fn heap_of(seconds: Duration) -> Result<Vec<u8>, ProfileError> {
    let control = PROF_CTL.as_ref().ok_or(ProfileError::NoHeapProfiles)?;
    let was_active = control.lock().await.activated();
    if !was_active {
        control.lock().await.activate().map_err(failed)?;
        sleep(seconds).await;
    }
    // It is written to a file, and read from there: not on the thread that everything else of the agent's own runs on.
    let dumped = tokio::task::spawn_blocking(move || {
        let mut control = control.blocking_lock();
        let profile = control.dump_pprof().map_err(failed);
        if !was_active {
            control.deactivate().map_err(failed)?;
        }
        profile
    });
    dumped.await.map_err(failed)?
}

fn failed(error: impl std::fmt::Display) -> ProfileError {
    ProfileError::Heap(error.to_string())
}

fn begin() -> Result<MutexGuard<'static, ()>, ProfileError> {
    ONE_AT_A_TIME.try_lock().map_err(|_| ProfileError::Busy)
}

fn seconds(query: Option<&str>) -> Result<Duration, ProfileError> {
    let mut seconds = DEFAULT_SECONDS;
    for (key, value) in query::pairs(query.unwrap_or_default()) {
        if key != "seconds" {
            return Err(ProfileError::Parameter(key));
        }
        let asked = value.parse().ok().filter(|asked| SECONDS.contains(asked));
        seconds = asked.ok_or(ProfileError::Seconds(value))?;
    }
    Ok(Duration::from_secs(seconds))
}

/// What was interrupted: frames after those of the signal's handler, which are of this program, and of the C library's
/// way back from it.
fn without_handler(frames: &[usize], is_own: impl Fn(usize) -> bool) -> &[usize] {
    let handler = frames.iter().take_while(|address| is_own(**address)).count();
    frames.get(handler + 1..).unwrap_or_default()
}

fn is_in(profile: &StackProfile, address: usize, file: &Path) -> bool {
    let holds = |from: usize, to: usize, path: &PathBuf| (from..to).contains(&address) && path == file;
    profile.mappings.iter().any(|mapping| holds(mapping.memory_start, mapping.memory_end, &mapping.pathname))
}

fn answer(taken: Result<Vec<u8>, ProfileError>) -> Response {
    match taken {
        Ok(profile) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"profile.pb.gz\""),
            ];
            (headers, profile).into_response()
        }
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test is the message")]

    use super::*;

    #[test]
    fn what_is_asked_for_is_bounded() {
        let said = |query: &str| seconds(Some(query)).map_err(|error| error.to_string());
        assert_eq!(seconds(None).unwrap(), Duration::from_secs(10));
        assert_eq!(said("seconds=60"), Ok(Duration::from_secs(60)));
        for wrong in ["seconds=0", "seconds=61", "seconds=-1", "seconds=", "seconds=1.5"] {
            assert!(said(wrong).unwrap_err().contains("allowed is a whole number from 1 to 60"), "{wrong}");
        }
        assert_eq!(said("hz=1").unwrap_err(), "there is no parameter \"hz\"; there is seconds");
    }

    #[test]
    fn the_handlers_frames_are_no_part_of_what_was_interrupted() {
        let own = |address: usize| address < 100;
        assert_eq!(without_handler(&[1, 2, 500, 3, 600, 4], own), [3, 600, 4]);
        for nothing in [&[1, 2, 500][..], &[1, 2], &[]] {
            assert!(without_handler(nothing, own).is_empty(), "{nothing:?}");
        }
    }
}
