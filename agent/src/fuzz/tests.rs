//! Every target: the inputs that are kept, and a fixed number of changed ones; enough to notice that a promise was broken, not
//! enough to search for it.

#![expect(clippy::unwrap_used, reason = "tests")]

use tokio::runtime::Builder;

use super::*;

fn target(name: Name) -> Box<dyn Target> {
    name.target(Builder::new_current_thread().enable_time().start_paused(true).build().unwrap())
}

/// How many inputs were taken for something.
fn run(name: Name, rounds: usize) -> usize {
    let (mut rng, target) = (Rng::with_seed(1), target(name));
    let seeds = target.seeds(name.kept().unwrap());
    let changed: Vec<Vec<u8>> = (0..rounds)
        .map(|_| {
            let (one, other) = (rng.usize(..seeds.len()), rng.usize(..seeds.len()));
            target.mutate(&mut rng, &seeds[one], &seeds[other])
        })
        .collect();
    let mut give = |input: &Vec<u8>| {
        let exercised = attempt(&*target, input, rng.u64(..));
        let exercised = exercised.unwrap_or_else(|broken| panic!("{broken}, given {}", input.escape_ascii()));
        usize::from(exercised.accepted > 0)
    };
    let of_seeds: usize = seeds.iter().map(&mut give).sum();
    let of_changed: usize = changed.iter().map(&mut give).sum();
    // The mutator neither leaves everything as it was nor destroys everything.
    assert!(
        of_seeds > 0 && (rounds / 200..rounds).contains(&of_changed),
        "{of_seeds} and {of_changed} of {rounds} taken"
    );
    of_changed
}

macro_rules! promises_hold {
    ($($test:ident: $name:ident, $rounds:literal;)+) => {
        $(#[test] fn $test() { run(Name::$name, $rounds); })+

        #[test]
        fn every_target_is_tried() {
            assert_eq!([$(Name::$name,)+], Name::ALL);
        }
    };
}

promises_hold! {
    what_documents_become_is_told_and_comes_back: Config, 250;
    what_settings_become_is_told_and_hides_secrets: Settings, 500;
    what_first_bytes_are_taken_for_depends_neither_on_splits_nor_on_leniency: Http, 1500;
    what_frames_are_taken_for_does_not_depend_on_splits: Http2, 500;
    what_a_head_is_for_is_one_and_the_same_to_all: Head, 3000;
    no_token_is_believed_that_nobody_signed: Token, 500;
    no_certificate_is_believed_that_nobody_signed: Certificate, 1000;
    what_operators_ask_and_keep_comes_back: Admin, 1000;
    what_the_kernel_answers_is_read_within_its_bounds: Kernel, 3000;
}

#[test]
fn one_seed_gives_one_sequence() {
    for name in Name::ALL {
        let target = target(*name);
        let seeds = target.seeds(name.kept().unwrap());
        let run = |mut rng: Rng| -> Vec<Vec<u8>> {
            (0..20).map(|_| target.mutate(&mut rng, &seeds[0], &seeds[seeds.len() - 1])).collect()
        };
        assert_eq!(run(Rng::with_seed(7)), run(Rng::with_seed(7)), "{name:?}");
        assert_ne!(run(Rng::with_seed(7)), run(Rng::with_seed(8)), "{name:?}");
    }
}

#[test]
fn kept_inputs_are_small_and_few() {
    for name in Name::ALL.iter().filter(|name| **name != Name::Config) {
        let kept = name.kept().unwrap();
        assert!(
            (1..=60).contains(&kept.len()) && kept.iter().all(|input| input.len() <= 8192),
            "{name:?}: {}",
            kept.len()
        );
    }
}

#[test]
fn a_panic_and_waiting_break_a_promise() {
    struct Panics;
    impl Target for Panics {
        fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
            assert!(!input.is_empty(), "as it was meant to");
            Ok(Exercised::default())
        }

        fn mutator(&self) -> &Mutator {
            unreachable!("nobody changes anything")
        }
    }
    assert_eq!(attempt(&Panics, b"x", 0), Ok(Exercised::default()));
    assert_eq!(attempt(&Panics, b"", 0), Err("a reader panicked".to_owned()));
}
