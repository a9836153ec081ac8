//! The program `heddle-chaos`; everything it does is in [`heddle_tests::chaos`].

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_tests::chaos::main()
}
