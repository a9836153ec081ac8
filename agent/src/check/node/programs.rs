//! The kernel programs, loaded and attached as a trial.

use std::path::Path;

use crate::{
    capture::{TrialError, Tried, try_kernel},
    causes::with_causes,
    check::Outcome,
};

/// What each part is for.
const PURPOSES: [(&str, &str); 8] = [
    ("maps", "tables of pods, connections and verdicts"),
    ("connect4", "capture of what pods dial by IPv4"),
    ("connect6", "capture of what pods dial by IPv6"),
    ("getpeername4", "the address that an application asked for, by IPv4"),
    ("getpeername6", "the address that an application asked for, by IPv6"),
    ("flows", "original destinations, and connections that are left to the kernel"),
    ("inbound", "capture of what comes to pods"),
    ("wire", "guard of pods' cables"),
];

pub(super) fn check(cgroup: &Path) -> Vec<Outcome> {
    try_kernel(cgroup).iter().map(judge).collect()
}

fn judge(tried: &Tried) -> Outcome {
    let purpose = PURPOSES.iter().find(|(part, _)| *part == tried.part).map_or("", |(_, purpose)| purpose);
    let check = match tried.part {
        "maps" => "maps".to_owned(),
        program => format!("program {program}"),
    };
    match &tried.result {
        Ok(()) => Outcome::ok(check, format!("the kernel takes it ({purpose})")),
        Err(error) => Outcome::error(check, format!("{purpose}: {}", in_words(error)), remedy(error)),
    }
}

fn in_words(error: &TrialError) -> String {
    // The verifier's log has many lines, and this is one.
    with_causes(error).lines().next().unwrap_or_default().to_owned()
}

fn remedy(error: &TrialError) -> &'static str {
    match error {
        TrialError::Refused(_) => {
            "run as root with the capabilities above on a kernel that is new enough, with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF \
             and CONFIG_NET_CLS_BPF; `heddle agent` shows the whole message"
        }
        TrialError::NoPlace { .. } => "mend what is wrong with cgroup v2 and the capabilities above, and check again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Standing;

    #[test]
    fn a_program_without_a_place_is_an_error_of_one_line() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let result = Err(TrialError::NoPlace { place: "the cgroup /x".to_owned(), source });
        let outcome = judge(&Tried { part: "connect4", result });
        assert_eq!((outcome.standing, outcome.check.as_str()), (Standing::Error, "program connect4"));
        assert!(
            outcome.seen.ends_with("IPv4: make the cgroup /x to attach it to: permission denied")
                && !outcome.to_string().contains('\n'),
            "{outcome}"
        );
        assert_eq!(judge(&Tried { part: "maps", result: Ok(()) }).standing, Standing::Ok);
    }
}
