//! The program `heddle-demo`; everything it does is in [`heddle_tests::demo`].

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_tests::demo::main()
}
