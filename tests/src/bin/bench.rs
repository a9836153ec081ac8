//! The program `heddle-bench`; everything it does is in [`heddle_tests::bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_tests::bench::main()
}
