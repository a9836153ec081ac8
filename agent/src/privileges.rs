//! The capabilities that the agent uses, and what an error says where one is missing.
//!
//! In: something that was not permitted. Out: the same, and which capability this process lacks and where it is given. Nothing is
//! refused here: what is permitted, the kernel judges. SECURITY.md says what each is for.

use std::{error::Error, io};

use rustix::thread::{CapabilitySet, capabilities};

const USED: [(&str, CapabilitySet); 3] = [
    ("SYS_ADMIN", CapabilitySet::SYS_ADMIN),
    ("NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("SYS_PTRACE", CapabilitySet::SYS_PTRACE),
];

/// The error with what [`remark`] says of it.
pub fn explained(error: io::Error) -> io::Error {
    match remark(&error) {
        remark if remark.is_empty() => error,
        remark => io::Error::new(error.kind(), format!("{error}{remark}")),
    }
}

/// What follows the text of an error that says that something was not permitted; nothing for others.
pub fn remark(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut systems = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    if !systems.any(|cause| cause.kind() == io::ErrorKind::PermissionDenied) {
        return String::new();
    }
    // A kernel that does not say what this process may do is taken at its word that it may nothing.
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    format!("; {}", reason(held))
}

fn reason(held: CapabilitySet) -> String {
    let missing: Vec<_> = USED.into_iter().filter(|(_, one)| !held.contains(*one)).map(|(name, _)| name).collect();
    if missing.is_empty() {
        return "no capability is missing: look for a seccomp profile, AppArmor or SELinux that forbids it".to_owned();
    }
    let (list, it) = (missing.join(", "), if missing.len() == 1 { "it" } else { "them" });
    format!("the agent lacks {list}: add {it} to securityContext.capabilities.add of its container, or run it as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let all = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_PTRACE;
        assert!(reason(all).starts_with("no capability is missing"));
        assert!(reason(all - CapabilitySet::NET_ADMIN).starts_with("the agent lacks NET_ADMIN: add it to"));
        let none = reason(CapabilitySet::CHOWN);
        assert!(none.starts_with("the agent lacks SYS_ADMIN, NET_ADMIN, SYS_PTRACE: add them to"), "{none}");
    }

    #[test]
    fn only_what_was_not_permitted_is_explained() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(explained(refused).raw_os_error(), Some(libc::ECONNREFUSED));
        for number in [libc::EPERM, libc::EACCES] {
            let denied = explained(io::Error::from_raw_os_error(number));
            assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
            assert!(denied.to_string().contains("capabilit"), "{denied}");
        }
    }

    #[test]
    fn what_was_not_permitted_is_found_below_other_errors() {
        let source = io::Error::from_raw_os_error(libc::EPERM);
        let outer = aya::maps::MapError::CreateError { name: "PODS".to_owned(), io_error: source };
        assert!(remark(&outer).starts_with("; "));
        assert_eq!(remark(&aya::maps::MapError::ElementNotFound), "");
    }
}
