use netlink_packet_route::link::LinkMessage;
use rtnetlink::packet_core::{DoneMessage, NLM_F_MULTIPART};

use super::*;

fn message(flags: u16, payload: NetlinkPayload<RouteNetlinkMessage>) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_MULTIPART | flags;
    NetlinkMessage::new(header, payload)
}

fn link() -> NetlinkPayload<RouteNetlinkMessage> {
    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(LinkMessage::default()))
}

fn done(code: i32) -> NetlinkPayload<RouteNetlinkMessage> {
    let mut done = DoneMessage::default();
    done.code = code;
    NetlinkPayload::Done(done)
}

fn error(code: i32, payload: &[u8]) -> ErrorMessage {
    let mut error = ErrorMessage::default();
    error.code = std::num::NonZeroI32::new(code);
    error.header = payload.to_vec();
    error
}

fn refused(errno: Errno) -> Result<(), NetlinkError> {
    Err(NetlinkError::Refused { errno, detail: None })
}

#[test]
fn dump_ends_with_done() {
    let (mut dump, mut objects) = (Dump::default(), 0);
    assert_eq!(dump.take(message(0, link()), |_| objects += 1), None);
    assert_eq!(dump.take(message(0, link()), |_| objects += 1), None);
    assert_eq!(dump.take(message(0, done(0)), |_| objects += 1), Some(Ok(())));
    assert_eq!(objects, 2);
}

#[test]
fn interruption_is_seen_on_any_message() {
    for interrupted in 0..3 {
        let flags = |place| if place == interrupted { NLM_F_DUMP_INTR } else { 0 };
        let mut dump = Dump::default();
        assert_eq!(dump.take(message(flags(0), link()), drop), None);
        assert_eq!(dump.take(message(flags(1), link()), drop), None);
        assert_eq!(dump.take(message(flags(2), done(0)), drop), Some(Err(NetlinkError::Interrupted)));
    }
}

#[test]
fn failed_dump_gives_the_kernels_reason() {
    let by_done = Dump::default().take(message(0, done(-(Errno::ENOENT as i32))), drop);
    assert_eq!(by_done, Some(refused(Errno::ENOENT)));
    let by_error = error(-(Errno::EPERM as i32), &[]);
    assert_eq!(
        Dump::default().take(message(0, NetlinkPayload::Error(by_error)), drop),
        Some(refused(Errno::EPERM))
    );
}

#[test]
fn acknowledgement_is_no_error() {
    assert_eq!(acknowledged(&NetlinkHeader::default(), &error(0, &[])), Ok(()));
}

#[test]
fn kernels_own_words_are_found_behind_the_request() {
    let mut payload = vec![0; NETLINK_HEADER_LENGTH];
    // NLMSGERR_ATTR_OFFS, then NLMSGERR_ATTR_MSG: 4 bytes of header, the text, its end, padding.
    payload.extend([8, 0, 2, 0, 20, 0, 0, 0]);
    payload.extend([16, 0, 1, 0]);
    payload.extend(b"Bad gateway\0");
    let refusal = error(-(Errno::EINVAL as i32), &payload);
    let mut header = NetlinkHeader::default();
    assert_eq!(acknowledged(&header, &refusal), refused(Errno::EINVAL));
    header.flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
    let expected = NetlinkError::Refused { errno: Errno::EINVAL, detail: Some("Bad gateway".to_owned()) };
    assert_eq!(acknowledged(&header, &refusal), Err(expected.clone()));
    assert_eq!(expected.to_string(), "Invalid argument (EINVAL): Bad gateway");
}

#[test]
fn truncated_detail_is_left_out() {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
    for payload in [&[0; 4][..], &[0; 16], &[0; 18]] {
        assert_eq!(acknowledged(&header, &error(-1, payload)), refused(Errno::EPERM));
    }
}
