//! The harness's own programs: sinks, the floor that nothing which forwards can be faster than, and a source of frames.

use anyhow::Result;

use super::{
    assembler::{Assembler, R0, R1, R2, R3, R4, Register, Width},
    bpf::{Counter, Kind, Program},
    frames::{self, Flows},
};

// Helpers and verdicts of uapi/linux/bpf.h and pkt_cls.h.
const REDIRECT: i32 = 23;
const REDIRECT_PEER: i32 = 155;
const TC_NEXT: i32 = -1;
const TC_DROP: i32 = 2;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

// Offsets in `__sk_buff` and `xdp_md`.
const SKB_PROTOCOL: i16 = 16;
const SKB_DATA: [i16; 2] = [76, 80];
const XDP_DATA: [i16; 2] = [0, 4];

const ETHERNET: i32 = 14;
const ETHER_TYPE: i16 = 12;

/// EtherType IPv4 as a program reads it from memory.
fn ipv4() -> i32 {
    i32::from(0x0800_u16.to_be())
}

/// Counts and drops IPv4 packets, the same for all ways; neighbours are still found.
pub fn sink(counter: &Counter) -> Result<Program> {
    let mut code = Assembler::default();
    code.load(Width::Word, R2, R1, SKB_PROTOCOL);
    let other = code.jump_if_not(R2, ipv4());
    count(&mut code, counter);
    verdict(&mut code, TC_DROP);
    code.land(other);
    verdict(&mut code, TC_NEXT);
    Program::load(Kind::Ingress, &code.instructions())
}

/// The same for frames of which no skb was made.
pub fn frame_sink(counter: &Counter) -> Result<Program> {
    let mut code = Assembler::default();
    let short = packet(&mut code, XDP_DATA, ETHERNET);
    code.load(Width::Half, R4, R2, ETHER_TYPE);
    let other = code.jump_if_not(R4, ipv4());
    count(&mut code, counter);
    verdict(&mut code, XDP_DROP);
    code.land(short);
    code.land(other);
    verdict(&mut code, XDP_PASS);
    Program::load(Kind::Xdp, &code.instructions())
}

/// The floor where packets leave: fixed link-layer addresses, and out of this interface.
pub fn floor_send(interface: u32, to: [u8; 6], from: [u8; 6]) -> Result<Program> {
    let mut code = Assembler::default();
    let short = packet(&mut code, SKB_DATA, ETHERNET);
    let addresses = [to, from].concat();
    write(&mut code, &addresses)?;
    redirect(&mut code, REDIRECT, interface)?;
    code.land(short);
    verdict(&mut code, TC_DROP);
    Program::load(Kind::Ingress, &code.instructions())
}

/// The floor where packets arrive: into the pod behind this interface.
pub fn floor_receive(interface: u32) -> Result<Program> {
    let mut code = Assembler::default();
    redirect(&mut code, REDIRECT_PEER, interface)?;
    Program::load(Kind::Ingress, &code.instructions())
}

/// The floor in a gateway: out of this interface.
pub fn frame_floor(interface: u32) -> Result<Program> {
    let mut code = Assembler::default();
    redirect(&mut code, REDIRECT, interface)?;
    Program::load(Kind::Xdp, &code.instructions())
}

/// A source of frames that go out of this interface: the whole frame is written each time, since the kernel reuses
/// frames as they were left, and the source port at these places goes through
/// all flows.
pub fn source(
    frame: &[u8],
    ports: &[usize],
    flows: Flows,
    counter: &Counter,
    interface: u32,
) -> Result<Program> {
    let mut code = Assembler::default();
    let short = packet(&mut code, XDP_DATA, i32::try_from(frame.len())?);
    write(&mut code, frame)?;
    code.map_value(R1, counter.map());
    code.load(Width::Double, R0, R1, 0);
    code.add(R0, 1);
    code.store(Width::Double, R1, 0, R0);
    code.and(R0, i32::from(flows.count() - 1));
    code.add(R0, i32::from(frames::FIRST_PORT));
    code.swap_to_network_order(R0);
    for port in ports {
        code.store(Width::Half, R2, i16::try_from(*port)?, R0);
    }
    redirect(&mut code, REDIRECT, interface)?;
    code.land(short);
    verdict(&mut code, XDP_DROP);
    Program::load(Kind::Xdp, &code.instructions())
}

/// Start of the packet in R2; jumps if there are fewer bytes.
fn packet(code: &mut Assembler, [start, end]: [i16; 2], least: i32) -> super::assembler::Jump {
    code.load(Width::Word, R2, R1, start);
    code.load(Width::Word, R3, R1, end);
    code.copy(R4, R2);
    code.add(R4, least);
    code.jump_if_greater(R4, R3)
}

/// These bytes, four at a time, at the start of the packet.
fn write(code: &mut Assembler, bytes: &[u8]) -> Result<()> {
    for (number, four) in bytes.chunks_exact(4).enumerate() {
        code.store_bytes(R2, i16::try_from(number * 4)?, four.try_into()?);
    }
    Ok(())
}

/// Adds one. Everything runs on one CPU, so it needs no atomic operation.
fn count(code: &mut Assembler, counter: &Counter) {
    let address: Register = R1;
    code.map_value(address, counter.map());
    code.load(Width::Double, R2, address, 0);
    code.add(R2, 1);
    code.store(Width::Double, address, 0, R2);
}

fn redirect(code: &mut Assembler, helper: i32, interface: u32) -> Result<()> {
    code.set(R1, i32::try_from(interface)?);
    code.set(R2, 0);
    code.call(helper);
    code.exit();
    Ok(())
}

fn verdict(code: &mut Assembler, verdict: i32) {
    code.set(R0, verdict);
    code.exit();
}
