//! Programs attached the old way, as filters of the `clsact` qdisc: for kernels before 6.6, which have no
//! tcx. Such a filter outlives the agent by itself; it is recognised by kind, priority and name.

use std::io;

use aya::programs::{Link as _, SchedClassifier, TcAttachType, tc, tc::SchedClassifierLink};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use node_ebpf_common::Hook;

use super::error::told;
use crate::fault::{self, Operation};

/// Priority of our filters (lower runs first; 0 would let the kernel choose).
const PRIORITY: u16 = 77;
/// Handle of our filters.
const HANDLE: tc::TcHandle = tc::TcHandle::new(0, 1);

/// Attaches the program, or puts it in the place of our filter that is there.
///
/// # Errors
/// The kernel's, as text.
pub fn attach(
    program: &mut SchedClassifier,
    hook: Hook,
    interface: &str,
    index: u32,
    side: TcAttachType,
) -> Result<(), String> {
    fault::refuse(Operation::Attach).map_err(|error| told(&error))?;
    // Fails where the qdisc is there already; whether it is there shows in the next step.
    let qdisc = tc::qdisc_add_clsact(interface);
    let attached = if find(hook, index).map_err(|error| error.to_string())?.is_some() {
        let ours = SchedClassifierLink::attached(interface, side, PRIORITY, HANDLE, None)
            .map_err(|error| error.to_string())?;
        program.attach_to_link(ours)
    } else {
        let options = tc::NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
        program.attach_with_options(interface, side, tc::TcAttachOptions::Netlink(options))
    };
    let id = attached.map_err(|error| {
        let said = told(&error);
        match qdisc {
            _ if is_place_taken(hook, index) => format!("{said}; {TAKEN}"),
            Err(qdisc) => format!("{said} (adding the clsact qdisc: {qdisc})"),
            Ok(()) => said,
        }
    })?;
    let link = program.take_link(id).map_err(|error| error.to_string())?;
    // Dropping it would remove the filter, which is to stay when the agent goes.
    std::mem::forget(link);
    Ok(())
}

/// Removes our filter, if it is there.
///
/// # Errors
/// The kernel's, as text.
pub fn detach(hook: Hook, interface: &str, index: u32, side: TcAttachType) -> Result<(), String> {
    if find(hook, index).map_err(|error| error.to_string())?.is_none() {
        return Ok(());
    }
    SchedClassifierLink::attached(interface, side, PRIORITY, HANDLE, None)
        .map_err(|error| error.to_string())?
        .detach()
        .map_err(|error| told(&error))
}

/// What is said where another program's filter has the place of ours.
const TAKEN: &str = "another program's filter has priority 77 there, which is left alone: give it another priority or \
                     remove it (`tc filter del ... pref 77`), the agent tries again";

/// Whether another program's filter has the place of ours.
fn is_place_taken(hook: Hook, interface: u32) -> bool {
    let theirs = |filter: &TcMessage| has_our_priority(filter) && ours(filter, hook).is_none();
    filters(hook, interface).is_ok_and(|filters| filters.iter().any(theirs))
}

fn has_our_priority(filter: &TcMessage) -> bool {
    filter.header.info >> 16 == u32::from(PRIORITY)
}

/// Number of the program in our filter at this interface, if there is one.
///
/// # Errors
/// The kernel cannot be asked.
pub fn find(hook: Hook, interface: u32) -> io::Result<Option<u32>> {
    Ok(filters(hook, interface)?.iter().find_map(|filter| ours(filter, hook)))
}

/// Filters of others at this side of the interface, for people.
///
/// # Errors
/// The kernel cannot be asked.
pub fn others(hook: Hook, interface: u32) -> io::Result<Vec<String>> {
    let text = |filter: &TcMessage| {
        let kind = filter.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        });
        let side = if hook.is_ingress() { "ingress" } else { "egress" };
        format!("a {} filter (clsact {side})", kind.as_deref().unwrap_or("tc"))
    };
    let mut texts: Vec<String> =
        filters(hook, interface)?.iter().filter(|filter| ours(filter, hook).is_none()).map(text).collect();
    texts.dedup();
    Ok(texts)
}

/// The program's number, if this filter is ours.
fn ours(filter: &TcMessage, hook: Hook) -> Option<u32> {
    if !has_our_priority(filter) {
        return None;
    }
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let bpf = |option: &TcOption| match option {
        TcOption::Bpf(option) => Some(option.clone()),
        _ => None,
    };
    let named = options
        .iter()
        .filter_map(bpf)
        .any(|option| matches!(option, TcFilterBpfOption::ProgName(name) if name == hook.program()));
    let id = options.iter().filter_map(bpf).find_map(|option| match option {
        TcFilterBpfOption::ProgId(id) => Some(id),
        _ => None,
    });
    if named { id } else { None }
}

/// Every filter at this side of the interface.
fn filters(hook: Hook, interface: u32) -> io::Result<Vec<TcMessage>> {
    let parent = TcHandle { major: u16::MAX, minor: if hook.is_ingress() { 0xfff2 } else { 0xfff3 } };
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    let message = TcMessage::from_parts(TcHeader { index, parent, ..TcHeader::default() }, Vec::new());
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetTrafficFilter(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if read_datagram(&datagram, &mut found)? {
            return Ok(found);
        }
    }
}

/// Takes the filters out of one datagram; says whether it was the last.
fn read_datagram(mut datagram: &[u8], found: &mut Vec<TcMessage>) -> io::Result<bool> {
    while !datagram.is_empty() {
        let message =
            NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram).map_err(io::Error::other)?;
        let length = (message.header.length as usize).next_multiple_of(4);
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) if error.code.is_some() => {
                let error = error.to_io();
                // The interface is gone, or it has no such qdisc: no filters.
                let none = matches!(error.raw_os_error(), Some(19 | 22 | 2));
                return if none { Ok(true) } else { Err(error) };
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(filter)) => found.push(filter),
            _ => {}
        }
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(false)
}
