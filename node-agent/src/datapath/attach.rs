//! Programs at interfaces: tcx links pinned to the bpffs, or `clsact` filters where there is no tcx.

use std::{collections::BTreeMap, fs, io};

use aya::{
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
    },
    util::KernelVersion,
};
use nix::net::if_::if_nameindex;
use node_ebpf_common::Hook;

use super::{DatapathError, Pins, clsact, error::told, links::running_program, program_set::ProgramSet};
use crate::{
    config::AttachMethod,
    fault::{self, Operation, Point},
    model::Attachment,
    reconcile::{AttachmentPoint, AttachmentState},
};

/// How programs are attached on this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// tcx links (kernel 6.6 or newer).
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

impl Method {
    /// The method to use, given what is configured and what the kernel has.
    #[must_use]
    pub fn choose(configured: AttachMethod) -> Self {
        match configured {
            AttachMethod::Tcx => Self::Tcx,
            AttachMethod::Clsact => Self::Clsact,
            AttachMethod::Auto => match KernelVersion::current() {
                Ok(kernel) if kernel >= KernelVersion::new(6, 6, 0) => Self::Tcx,
                _ => Self::Clsact,
            },
        }
    }

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// The programs that are attached, and by which method.
#[derive(Debug, Default)]
pub struct Attached {
    /// Pinned links, of tcx and XDP: number of the program that runs, or none if the link is dead.
    pub links: BTreeMap<AttachmentPoint, Option<u32>>,
    /// Filters: number of the program.
    pub clsact: BTreeMap<AttachmentPoint, u32>,
}

impl Attached {
    /// Reads what is attached in this network namespace.
    ///
    /// # Errors
    /// The pins or the kernel cannot be read.
    pub fn observe(pins: &Pins) -> Result<Self, DatapathError> {
        let names = interface_names()?;
        let mut attached = Self::default();
        for (hook, link) in pins.pinned_links()? {
            let running = match names.get(&link) {
                Some(name) => running_program(pins, hook, link, name)?,
                None => None,
            };
            attached.links.insert(AttachmentPoint { link, hook }, running);
        }
        for (link, name) in &names {
            for hook in Hook::CLASSIFIERS {
                let found = clsact::find(hook, *link).map_err(|error| DatapathError::Attach {
                    action: "look for",
                    hook: hook.label(),
                    interface: name.clone(),
                    error: error.to_string(),
                })?;
                if let Some(program) = found {
                    attached.clsact.insert(AttachmentPoint { link: *link, hook }, program);
                }
            }
        }
        Ok(attached)
    }

    /// Whether each is of the current programs and attached by the current method.
    #[must_use]
    pub fn states(
        &self,
        programs: &ProgramSet,
        method: Method,
    ) -> BTreeMap<AttachmentPoint, AttachmentState> {
        let points = self.links.keys().chain(self.clsact.keys());
        points.map(|point| (*point, self.state(*point, programs.id(point.hook), method))).collect()
    }

    fn state(&self, point: AttachmentPoint, current: u32, method: Method) -> AttachmentState {
        let (linked, clsact) = (self.links.get(&point), self.clsact.get(&point));
        let even = match method {
            Method::Clsact if point.hook != Hook::Xdp => clsact == Some(&current) && linked.is_none(),
            _ => linked == Some(&Some(current)) && clsact.is_none(),
        };
        if even { AttachmentState::Current } else { AttachmentState::Stale }
    }
}

/// Attaches the program, in the place of the one before if there is one: no packet passes in between.
///
/// # Errors
/// The kernel refuses.
pub fn attach(
    programs: &mut ProgramSet,
    pins: &Pins,
    at: &Attachment,
    method: Method,
) -> Result<(), DatapathError> {
    let failed = |error: String| DatapathError::Attach {
        action: "attach",
        hook: at.hook.label(),
        interface: at.interface.clone(),
        error,
    };
    let program = programs.program(at.hook)?;
    match method {
        Method::Tcx => {
            let running = running_program(pins, at.hook, at.link, &at.interface)?.is_some();
            attach_tcx(program, pins, at, running).map_err(failed)?;
            clsact::detach(at.hook, &at.interface, at.link, side(at.hook)).map_err(failed)
        }
        Method::Clsact => {
            clsact::attach(program, at.hook, &at.interface, at.link, side(at.hook)).map_err(failed)?;
            fault::point(Point::FilterMade);
            remove_pin(pins, at.hook, at.link)
        }
    }
}

/// Detaches our program from an interface, by whichever method it was attached.
///
/// # Errors
/// The kernel refuses.
pub fn detach(pins: &Pins, point: AttachmentPoint) -> Result<(), DatapathError> {
    remove_pin(pins, point.hook, point.link)?;
    if point.hook == Hook::Xdp {
        return Ok(());
    }
    let Some(interface) = interface_names()?.remove(&point.link) else { return Ok(()) };
    clsact::detach(point.hook, &interface, point.link, side(point.hook)).map_err(|error| {
        DatapathError::Attach { action: "detach", hook: point.hook.label(), interface, error }
    })
}

/// Puts the program into the link that is pinned if that is `running`, or makes a link.
fn attach_tcx(
    program: &mut SchedClassifier,
    pins: &Pins,
    at: &Attachment,
    running: bool,
) -> Result<(), String> {
    let pin = pins.link(at.hook, at.link);
    fault::refuse(Operation::Attach).map_err(|error| told(&error))?;
    if running {
        let link = PinnedLink::from_pin(&pin).map_err(|error| told(&error))?;
        let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(|error| told(&error))?;
        let id = program.attach_to_link(link).map_err(|error| told(&error))?;
        // The pin holds the link; this only closes our descriptor.
        return program.take_link(id).map(drop).map_err(|error| error.to_string());
    }
    remove_file(&pin)
        .map_err(|error| format!("cannot remove the dead link {}: {}", pin.display(), told(&error)))?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id =
        program.attach_with_options(&at.interface, side(at.hook), order).map_err(|error| told(&error))?;
    let link = program.take_link(id).map_err(|error| error.to_string())?;
    let link = FdLink::try_from(link).map_err(|error| error.to_string())?;
    fault::point(Point::LinkMade);
    link.pin(&pin).map(drop).map_err(|error| format!("cannot pin it at {}: {}", pin.display(), told(&error)))
}

pub(super) fn side(hook: Hook) -> TcAttachType {
    if hook.is_ingress() { TcAttachType::Ingress } else { TcAttachType::Egress }
}

fn remove_pin(pins: &Pins, hook: Hook, link: u32) -> Result<(), DatapathError> {
    let pin = pins.link(hook, link);
    remove_file(&pin).map_err(DatapathError::pin("remove", pin))
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Names of this network namespace's interfaces, by index.
fn interface_names() -> Result<BTreeMap<u32, String>, DatapathError> {
    let interfaces =
        if_nameindex().map_err(|errno| DatapathError::pin("list", "the network interfaces")(errno.into()))?;
    Ok(interfaces.iter().map(|one| (one.index(), one.name().to_string_lossy().into_owned())).collect())
}
