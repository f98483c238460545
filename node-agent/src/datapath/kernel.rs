//! What kernel this is, and whether it is enough.

use aya::util::KernelVersion;
use nix::sys::utsname::uname;

use super::DatapathError;

/// The oldest kernel that works: `bpf_redirect_neigh` and `bpf_redirect_peer` came with 5.10.
const OLDEST: (KernelVersion, &str) = (KernelVersion::new(5, 10, 0), "5.10");

/// Checks that the running kernel is new enough.
///
/// # Errors
/// It is not.
pub fn check() -> Result<(), DatapathError> {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    check_version(KernelVersion::current().ok(), &release)
}

/// A kernel whose version cannot be told gets the benefit of the doubt: loading will tell.
fn check_version(version: Option<KernelVersion>, release: &str) -> Result<(), DatapathError> {
    match version {
        Some(version) if version < OLDEST.0 => {
            Err(DatapathError::OldKernel { found: release.to_owned(), needed: OLDEST.1 })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_refused_with_what_is_needed() {
        let error = check_version(Some(KernelVersion::new(5, 4, 0)), "5.4.0-42-generic").unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel 5.4.0-42-generic is too old: 5.10 or newer is needed \
             (redirect to a neighbour and to a veth peer)"
        );
        for enough in
            [KernelVersion::new(5, 10, 0), KernelVersion::new(6, 1, 0), KernelVersion::new(6, 18, 0)]
        {
            assert!(check_version(Some(enough), "").is_ok());
        }
        assert!(check_version(None, "unknown").is_ok());
    }
}
