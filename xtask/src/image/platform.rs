//! What an image can be for: the names that registries, cargo and the loader have for it.

use std::env::consts;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// A platform, as `--platform` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Platform {
    /// x86_64
    #[value(name = "linux/amd64")]
    Amd64,
    /// aarch64
    #[value(name = "linux/arm64")]
    Arm64,
}

impl Platform {
    /// That of this machine.
    pub(super) fn of_this_machine() -> Result<Self> {
        match consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("no image is made for {other}: give --platform linux/amd64 or linux/arm64"),
        }
    }

    /// The OCI image specification's `architecture`, which are Go's names and Debian's too.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Cargo's name for it.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// ELF's: `e_machine`.
    pub(super) fn machine(self) -> object::elf::Machine {
        match self {
            Self::Amd64 => object::elf::EM_X86_64,
            Self::Arm64 => object::elf::EM_AARCH64,
        }
    }

    /// Where its libraries are on the machine that builds, and so in the image: the loader comes from there and looks there.
    pub(super) fn library_folders(self) -> [&'static str; 4] {
        match self {
            Self::Amd64 => ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"],
            Self::Arm64 => ["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64"],
        }
    }
}
