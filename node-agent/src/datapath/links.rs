//! What is behind the pinned links.

use aya::programs::{
    SchedClassifier,
    links::{FdLink, LinkError, PinnedLink},
};
use node_ebpf_common::Hook;

use super::{
    DatapathError, Pins, attach,
    error::{errno, is_shortage, told},
    xdp,
};
use crate::fault::{self, Operation};

/// Number of the program behind our pinned link, whether or not it runs anywhere; none if there is no such link.
///
/// # Errors
/// The kernel is too short of something to tell: the link may be as it should be.
pub(super) fn linked_program(pins: &Pins, hook: Hook, index: u32) -> Result<Option<u32>, DatapathError> {
    let pin = pins.link(hook, index);
    let failed = DatapathError::pin("open the link", &pin);
    if let Err(error) = fault::refuse(Operation::LinkOpen) {
        return Err(failed(error));
    }
    match PinnedLink::from_pin(&pin).and_then(|link| FdLink::from(link).info()) {
        Ok(info) => Ok(Some(info.program_id())),
        Err(LinkError::SyscallError(error)) if is_shortage(error.io_error.raw_os_error()) => {
            Err(failed(error.io_error))
        }
        Err(_) => Ok(None),
    }
}

/// Number of the program behind a pinned link, if it really runs at this interface: an interface of the
/// same number may have come after the one that the link was for.
///
/// # Errors
/// As [`linked_program`].
pub(super) fn running_program(
    pins: &Pins,
    hook: Hook,
    index: u32,
    interface: &str,
) -> Result<Option<u32>, DatapathError> {
    if hook == Hook::Xdp {
        return xdp::running_program(pins, index);
    }
    let Some(program) = linked_program(pins, hook, index)? else { return Ok(None) };
    match SchedClassifier::query_tcx(interface, attach::side(hook)) {
        Ok((_, running)) => Ok(running.iter().any(|info| info.id() == program).then_some(program)),
        Err(error) if is_shortage(errno(&error)) => Err(DatapathError::Attach {
            action: "look for",
            hook: hook.label(),
            interface: interface.to_owned(),
            error: told(&error),
        }),
        // The interface is gone, or the kernel has no tcx.
        Err(_) => Ok(None),
    }
}
