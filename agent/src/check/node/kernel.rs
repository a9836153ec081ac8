//! The kernel: its age, its compiler for programs, and what keeps even root from something.

use std::{fs, io};

use rustix::system::uname;

use crate::check::{
    Outcome,
    kernel::{self, Verdict},
};

const JIT: &str = "/proc/sys/net/core/bpf_jit_enable";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const SELINUX: &str = "/sys/fs/selinux/enforce";
const CONTEXT: &str = "/proc/self/attr/current";

pub(super) fn check() -> Vec<Outcome> {
    let selinux = fs::read_to_string(SELINUX).is_ok_and(|text| text.trim() == "1");
    let context = fs::read_to_string(CONTEXT).unwrap_or_default();
    vec![
        age(&uname().release().to_string_lossy()),
        compiler(&fs::read_to_string(JIT)),
        lockdown(&fs::read_to_string(LOCKDOWN).unwrap_or_default()),
        security_module(selinux, context.trim_matches(['\0', '\n', ' '])),
    ]
}

fn age(release: &str) -> Outcome {
    let (check, seen) = ("kernel", format!("Linux {release}"));
    match kernel::judge(release) {
        Verdict::Fine => Outcome::ok(check, seen),
        Verdict::Lacking(remedy) => Outcome::warning(check, seen, remedy),
        Verdict::Unusable(remedy) => Outcome::error(check, seen, remedy),
    }
}

fn compiler(setting: &io::Result<String>) -> Outcome {
    let check = "compiler of BPF programs";
    match setting.as_ref().map(|text| text.trim()) {
        Ok("0") => Outcome::warning(
            check,
            "off: programs are interpreted, several times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Ok(_) => Outcome::ok(check, "on"),
        // Neither kernels that always compile have the setting, nor network namespaces other than the machine's.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::ok(check, "it cannot be turned off here"),
        Err(error) => Outcome::not_checked(check, format!("read {JIT}: {error}"), "check as root"),
    }
}

/// The mode in force stands in brackets. Integrity, the weaker one, refuses nothing that the programs do.
fn lockdown(modes: &str) -> Outcome {
    let check = "kernel lockdown";
    let mode = modes.split('[').nth(1).and_then(|rest| rest.split(']').next());
    match mode {
        Some("confidentiality") => Outcome::warning(
            check,
            "confidentiality: BPF programs may not read kernel memory",
            "boot with lockdown=integrity if programs are refused below",
        ),
        Some(mode) => Outcome::ok(check, mode),
        None => Outcome::ok(check, "not built in, or not to be seen here"),
    }
}

fn security_module(selinux_enforces: bool, context: &str) -> Outcome {
    let check = "security module";
    if selinux_enforces && !["spc_t", "unconfined", "init_t", "kernel_t"].iter().any(|kind| context.contains(kind)) {
        let remedy = "run the agent's container as spc_t (seLinuxOptions: {type: spc_t}), or privileged";
        return Outcome::warning(check, format!("SELinux confines this process as {context}"), remedy);
    }
    if context.ends_with("(enforce)") {
        let remedy = "run the agent's container without a profile (appArmorProfile: {type: Unconfined}), or privileged";
        return Outcome::warning(check, format!("AppArmor confines this process by {context}"), remedy);
    }
    Outcome::ok(check, "this process is not confined")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Standing;

    #[test]
    fn what_keeps_root_from_something_is_told() {
        assert_eq!(lockdown("none [integrity] confidentiality\n").seen, "integrity");
        assert_eq!(lockdown("none integrity [confidentiality]\n").standing, Standing::Warning);
        assert_eq!(lockdown("").standing, Standing::Ok);
        for (selinux, context, standing) in [
            (false, "", Standing::Ok),
            (false, "unconfined", Standing::Ok),
            (false, "cri-containerd.apparmor.d (enforce)", Standing::Warning),
            (true, "system_u:system_r:container_t:s0:c1,c2", Standing::Warning),
            (true, "system_u:system_r:spc_t:s0", Standing::Ok),
        ] {
            assert_eq!(security_module(selinux, context).standing, standing, "{context}");
        }
    }

    #[test]
    fn an_interpreter_is_a_warning_with_the_sysctl() {
        assert_eq!(compiler(&Ok("0\n".to_owned())).standing, Standing::Warning);
        assert_eq!(compiler(&Ok("1\n".to_owned())).standing, Standing::Ok);
        assert_eq!(compiler(&Err(io::ErrorKind::NotFound.into())).standing, Standing::Ok);
        assert_eq!(compiler(&Err(io::ErrorKind::PermissionDenied.into())).standing, Standing::NotChecked);
        assert_eq!(age("5.10.1").standing, Standing::Error);
    }
}
