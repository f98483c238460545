//! The XDP program at uplinks: natively in the driver, or not at all, in which case tc does the work alone.

mod device;
mod maps;

use std::collections::BTreeMap;

use aya::programs::{
    ProgramError, Xdp, XdpMode as AttachMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
pub(super) use device::Device;
use nix::errno::Errno;
use node_ebpf_common::{Hook, Uplink};

use super::{
    DatapathError, Pins,
    attach::remove_file,
    error::{errno, is_shortage, told},
    links::linked_program,
    program_set::ProgramSet,
};
use crate::{
    config::XdpMode,
    fault::{self, Operation, Point},
    model::Attachment,
    reconcile::{AttachmentPoint, AttachmentState},
};

/// Where the XDP program does not run although it should, or not all of it works.
#[derive(Debug, Default)]
pub(super) struct Shortfalls(BTreeMap<u32, Shortfall>);

#[derive(Debug)]
struct Shortfall {
    /// For people.
    text: String,
    /// The interface as it was. There is no point in another try before it has changed.
    device: Device,
    /// Whether the program does not run there.
    refused: bool,
}

impl Shortfalls {
    /// Each, for people.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.values().map(|shortfall| shortfall.text.clone())
    }

    /// Whether the program does not run at this interface.
    pub(super) fn is_refused(&self, link: u32) -> bool {
        self.0.get(&link).is_some_and(|shortfall| shortfall.refused)
    }

    /// Attaches the program, or puts it in the place of the one before. Where that cannot be, says why once and
    /// counts as done: tc does the same work.
    ///
    /// # Errors
    /// The interface cannot be looked at, or a map or pin cannot be written.
    pub(super) fn attach(
        &mut self,
        programs: &mut ProgramSet,
        pins: &Pins,
        at: &Attachment,
    ) -> Result<(), DatapathError> {
        let device = Device::look(at.link).map_err(|error| DatapathError::Attach {
            action: "attach",
            hook: at.hook.label(),
            interface: at.interface.clone(),
            error: format!("cannot look at the interface: {error}"),
        })?;
        self.0.remove(&at.link);
        let (text, refused) = match put_in_place(programs, pins, at, &device)? {
            Ok(()) if programs.xdp_mode() == XdpMode::Transit && !device.sends() => (cannot_send(at), false),
            Ok(()) => return Ok(()),
            Err(reason) => {
                self.forget(programs, pins, at.link)?;
                let text = format!("XDP does not run at {}: {reason}; tc does the work alone", at.interface);
                (text, true)
            }
        };
        self.0.insert(at.link, Shortfall { text, device, refused });
        Ok(())
    }

    /// Detaches the program.
    ///
    /// # Errors
    /// A map or pin cannot be written.
    pub(super) fn detach(
        &mut self,
        programs: &mut ProgramSet,
        pins: &Pins,
        link: u32,
    ) -> Result<(), DatapathError> {
        self.0.remove(&link);
        self.forget(programs, pins, link)
    }

    fn forget(&self, programs: &mut ProgramSet, pins: &Pins, link: u32) -> Result<(), DatapathError> {
        let pin = pins.link(Hook::Xdp, link);
        remove_file(&pin).map_err(DatapathError::pin("remove", pin))?;
        maps::Maps(&mut programs.ebpf).remove(link)
    }

    /// Corrects what the links alone tell: an attachment is current only if the maps fit its interface, and one
    /// that was refused is as good as it gets until its interface changes.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub(super) fn review(
        &self,
        programs: &mut ProgramSet,
        states: &mut BTreeMap<AttachmentPoint, AttachmentState>,
    ) -> Result<(), DatapathError> {
        for (point, state) in states.iter_mut().filter(|(point, _)| point.hook == Hook::Xdp) {
            let device = Device::look(point.link).ok();
            let fits = match &device {
                Some(device) => maps::Maps(&mut programs.ebpf).fit(point.link, device)?,
                None => false,
            };
            if !fits {
                *state = AttachmentState::Stale;
            }
        }
        for (link, shortfall) in self.0.iter().filter(|(_, shortfall)| shortfall.refused) {
            if Device::look(*link).is_ok_and(|device| device == shortfall.device) {
                let point = AttachmentPoint { link: *link, hook: Hook::Xdp };
                states.insert(point, AttachmentState::Current);
            }
        }
        Ok(())
    }
}

fn cannot_send(at: &Attachment) -> String {
    format!(
        "XDP forwards nothing to {}: its driver does not say that it sends frames for XDP (it takes kernel 6.3 or newer; a veth's peer needs `ethtool -K PEER gro on`); tc and the stack do that",
        at.interface
    )
}

/// Attaches and fills the maps, or says why the program cannot run there.
fn put_in_place(
    programs: &mut ProgramSet,
    pins: &Pins,
    at: &Attachment,
    device: &Device,
) -> Result<Result<(), String>, DatapathError> {
    let ours = linked_program(pins, Hook::Xdp, at.link)?;
    if let Some(foreign) = device.programs.iter().find(|program| Some(**program) != ours) {
        return Ok(Err(format!("another XDP program runs there (number {foreign}), which is left alone")));
    }
    if device.lacks_xdp() {
        return Ok(Err("its driver has no native XDP".to_owned()));
    }
    // First, so that the program never misses them.
    maps::Maps(&mut programs.ebpf).set(at.link, device)?;
    match programs.xdp() {
        Ok(program) => attach(program, pins, at, device),
        Err(reason) => Ok(Err(reason)),
    }
}

/// Puts the program into the link that is there, which is atomic, or makes a link. Or says why the driver refuses.
fn attach(
    program: &mut Xdp,
    pins: &Pins,
    at: &Attachment,
    device: &Device,
) -> Result<Result<(), String>, DatapathError> {
    let failed = |error: &(dyn std::error::Error + 'static)| DatapathError::Attach {
        action: "attach",
        hook: at.hook.label(),
        interface: at.interface.clone(),
        error: told(error),
    };
    fault::refuse(Operation::Attach).map_err(|error| failed(&error))?;
    let pin = pins.link(at.hook, at.link);
    if running_program(pins, at.link)?.is_some() {
        let link = PinnedLink::from_pin(&pin).map_err(|error| failed(&error))?;
        let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| failed(&error))?;
        return match program.attach_to_link(link) {
            // The pin holds the link; this only closes our descriptor.
            Ok(id) => program.take_link(id).map(|_| Ok(())).map_err(|error| failed(&error)),
            Err(error) if is_shortage(errno(&error)) => Err(failed(&error)),
            Err(error) => Ok(Err(hint(&error, device))),
        };
    }
    remove_file(&pin).map_err(DatapathError::pin("remove the dead link", &pin))?;
    let id = match program.attach_to_if_index(at.link, AttachMode::Driver) {
        Ok(id) => id,
        Err(error) if is_shortage(errno(&error)) => return Err(failed(&error)),
        Err(error) => return Ok(Err(hint(&error, device))),
    };
    let link = program.take_link(id).map_err(|error| failed(&error))?;
    let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
    fault::point(Point::LinkMade);
    link.pin(&pin).map(|_| Ok(())).map_err(|error| failed(&error))
}

/// The refusal, for people. The kernel gives a number, and tells the words to nobody who makes a link.
fn hint(error: &ProgramError, device: &Device) -> String {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error().map(Errno::from_raw),
        _ => None,
    };
    match code {
        Some(Errno::EOPNOTSUPP) => "its driver has no native XDP".to_owned(),
        Some(Errno::ERANGE) => format!("its driver refuses XDP with an MTU of {}", device.mtu),
        Some(Errno::EBUSY | Errno::EEXIST) => {
            "another XDP program runs there, which is left alone".to_owned()
        }
        Some(Errno::ENOSPC) => {
            "its driver has too few queues (a veth: not fewer for receiving than its peer has for sending)"
                .to_owned()
        }
        _ => format!("its driver refuses (its MTU is {}; LRO must be off): {error:?}", device.mtu),
    }
}

/// Number of the program behind our pinned link, if it really runs at this interface.
///
/// # Errors
/// The kernel is too short of something to tell.
pub(super) fn running_program(pins: &Pins, link: u32) -> Result<Option<u32>, DatapathError> {
    let Some(program) = linked_program(pins, Hook::Xdp, link)? else { return Ok(None) };
    match Device::look(link) {
        Ok(device) => Ok(device.programs.contains(&program).then_some(program)),
        Err(error) if is_shortage(error.raw_os_error()) => {
            Err(DatapathError::pin("look at", format!("interface #{link}"))(error))
        }
        Err(_) => Ok(None),
    }
}

/// What the program needs to know of the interface.
fn entry(device: &Device) -> Uplink {
    let flags = if device.sends_fragments() { Uplink::SENDS_FRAGMENTS } else { 0 };
    Uplink { mac: device.mac, flags }
}
