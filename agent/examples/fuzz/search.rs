//! The search in one target.
//!
//! It knows nothing of the readers' branches: an input that is read in a new way joins the others for the rest of the run.

#![expect(clippy::print_stdout, reason = "a tool for people")]

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
    process,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use heddle::fuzz::{Name, Target, attempt};

/// How to search.
pub(super) struct Settings {
    pub(super) length: Duration,
    pub(super) seed: u64,
    pub(super) keep: bool,
    /// Where an input is left that breaks a promise.
    pub(super) found: PathBuf,
}

/// What a search has come to.
pub(super) struct Search<'a> {
    name: Name,
    target: &'a dyn Target,
    settings: Settings,
    /// What there was in the beginning, and then what was read in a new way.
    inputs: Vec<Vec<u8>>,
    seeds: usize,
    rng: Rng,
    ways: HashSet<u64>,
    hasher: RandomState,
    begun: Instant,
    count: u64,
    accepted: usize,
    slowest: Duration,
    file: File,
}

/// How it ended.
pub(super) struct Outcome {
    text: String,
    broken: bool,
}

/// Inputs to change, at most: then new ones take the places of old ones.
const MOST_INPUTS: usize = 2000;

/// Inputs of a target that are kept in the source tree, and how long they are, at most.
const MOST_KEPT: usize = 40;
const LONGEST_KEPT: usize = 2048;

/// Whoever has not read an input after this time never will.
const NEVER: Duration = Duration::from_secs(60);

/// What is being read, and since when.
static UNDER_WAY: Mutex<Vec<(Name, Instant, PathBuf)>> = Mutex::new(Vec::new());

/// How often it says where it is.
const SAY_EVERY: Duration = Duration::from_secs(20);

impl<'a> Search<'a> {
    pub(super) fn new(name: Name, target: &'a dyn Target, settings: Settings) -> Result<Self> {
        fs::create_dir_all(&settings.found).with_context(|| format!("making {} failed", settings.found.display()))?;
        let kept = name.kept().with_context(|| format!("reading the inputs of {} failed", name.as_str()))?;
        let (inputs, file) = (target.seeds(kept), File::create(settings.found.join("current"))?);
        ensure!(!inputs.is_empty(), "{} has no input to begin with", name.as_str());
        Ok(Self {
            seeds: inputs.len(),
            rng: Rng::with_seed(settings.seed),
            name,
            target,
            settings,
            inputs,
            ways: HashSet::new(),
            hasher: RandomState::new(),
            begun: Instant::now(),
            count: 0,
            accepted: 0,
            slowest: Duration::ZERO,
            file,
        })
    }

    /// Until the time is over, something is found, or `ending` is set.
    pub(super) fn run(mut self, ending: &AtomicBool) -> Result<Outcome> {
        for input in self.inputs.clone() {
            if let Some(broken) = self.give(input)? {
                return Ok(broken);
            }
        }
        let mut say = SAY_EVERY;
        while self.begun.elapsed() < self.settings.length && !ending.load(Relaxed) {
            let input = self.mutated();
            if let Some(broken) = self.give(input)? {
                return Ok(broken);
            }
            if self.begun.elapsed() > say {
                println!("{}", self.so_far());
                say += SAY_EVERY;
            }
        }
        fs::remove_file(self.current())?;
        let kept = if self.settings.keep { self.keep()? } else { String::new() };
        Ok(Outcome { text: format!("{}; no promise broken{kept}", self.so_far()), broken: false })
    }

    /// Puts an input where it is found if the process dies without a panic, such as by an overflow of the stack. Into a file
    /// that stays open: some file systems write one to the disk at once that is made anew.
    fn leave(&mut self, input: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(input)?;
        self.file.set_len(input.len() as u64)
    }

    fn mutated(&mut self) -> Vec<u8> {
        // Half of the time from the beginning: what was added since is mostly further from a whole input.
        let range = if self.rng.bool() { self.seeds } else { self.inputs.len() };
        let (one, other) = (self.rng.usize(..range), self.rng.usize(..self.inputs.len()));
        self.target.mutate(&mut self.rng, &self.inputs[one], &self.inputs[other])
    }

    fn give(&mut self, input: Vec<u8>) -> Result<Option<Outcome>> {
        let seed = self.rng.u64(..);
        self.leave(&input).with_context(|| format!("writing {} failed", self.current().display()))?;
        let given = Instant::now();
        under_way(self.name, Some((given, self.current())));
        let outcome = attempt(self.target, &input, seed);
        under_way(self.name, None);
        self.slowest = self.slowest.max(given.elapsed());
        self.count += 1;
        match outcome {
            Ok(exercised) => {
                self.accepted += exercised.accepted;
                let is_new =
                    exercised.ways.iter().filter(|way| self.ways.insert(self.hasher.hash_one(way))).count() > 0;
                match is_new && self.count > self.seeds as u64 {
                    true if self.inputs.len() < MOST_INPUTS => self.inputs.push(input),
                    true => {
                        let place = self.rng.usize(self.seeds..MOST_INPUTS);
                        self.inputs[place] = input;
                    }
                    false => {}
                }
                Ok(None)
            }
            Err(broken) => self.found(&broken, seed).map(Some),
        }
    }

    fn found(&self, broken: &str, seed: u64) -> Result<Outcome> {
        let name = self.name.as_str();
        let file = self.settings.found.join(format!("seed-{}-{}", self.settings.seed, self.count));
        fs::rename(self.current(), &file)?;
        let again = format!("cargo xtask fuzz {name} --seed {seed} --replay {}", file.display());
        Ok(Outcome {
            text: format!("{name}: {broken}\nfound after {} inputs; again: {again}", self.count),
            broken: true,
        })
    }

    /// Puts the smallest of the inputs that are read in ways of their own beside those that there were in the beginning.
    fn keep(&self) -> Result<String> {
        let folder = self.name.corpus();
        fs::create_dir_all(&folder)?;
        let (mut ways, mut added) = (HashSet::new(), 0);
        let mut is_new = |input: &Vec<u8>| {
            let read = attempt(self.target, input, 0).map(|exercised| exercised.ways).unwrap_or_default();
            read.into_iter().filter(|way| ways.insert(way.clone())).count() > 0
        };
        let (seeds, found) = self.inputs.split_at(self.seeds);
        for seed in seeds {
            is_new(seed);
        }
        let mut found: Vec<_> = found.iter().filter(|input| input.len() <= LONGEST_KEPT).collect();
        found.sort_by_key(|input| input.len());
        let room = MOST_KEPT.saturating_sub(self.name.kept()?.len());
        for input in found.into_iter().filter(|input| is_new(input)).take(room) {
            fs::write(folder.join(format!("{:016x}", fnv(input))), input)?;
            added += 1;
        }
        Ok(format!("; {added} put into {}", folder.display()))
    }

    fn current(&self) -> PathBuf {
        self.settings.found.join("current")
    }

    fn so_far(&self) -> String {
        let per_second = self.count as f64 / self.begun.elapsed().as_secs_f64();
        format!(
            "{}: {} inputs, {per_second:.0} per second, seed {}; {} accepted, {} ways of reading, {} inputs added, slowest {} ms",
            self.name.as_str(),
            self.count,
            self.settings.seed,
            self.accepted,
            self.ways.len(),
            self.inputs.len() - self.seeds,
            self.slowest.as_millis()
        )
    }
}

/// Ends the process when a reader does not come back: nothing else can end it then.
pub(super) fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let Ok(all) = UNDER_WAY.lock() else { return };
        if let Some((name, _, file)) = all.iter().find(|(_, since, _)| since.elapsed() > NEVER) {
            println!("{}: the reader does not come back from {}", name.as_str(), file.display());
            process::exit(1);
        }
    }
}

fn under_way(name: Name, input: Option<(Instant, PathBuf)>) {
    if let Ok(mut all) = UNDER_WAY.lock() {
        all.retain(|(other, ..)| *other != name);
        all.extend(input.map(|(since, file)| (name, since, file)));
    }
}

/// FNV-1a: a name for an input that it has wherever it was found.
fn fnv(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Outcome {
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
