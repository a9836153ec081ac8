//! The program `heddle-peer`; everything it does is in [`heddle_tests::peer`].

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_tests::peer::main()
}
