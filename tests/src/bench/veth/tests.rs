//! That packets go every way that is measured, and that a way which is not what it says is refused.

use anyhow::{Context, Result, ensure};

use super::{
    check,
    frames::Flows,
    receive::Receiver,
    site::Site,
    transit::{Crossing, Passage},
    way::Way,
};
use crate::{command, lab::Endpoint, probe::Ping};

fn refusal(site: &Site) -> Result<String> {
    let error = check::check(site).err().with_context(|| format!("{} is not refused", site.way.name()))?;
    Ok(format!("{error:#}"))
}

#[test]
fn packets_go_every_way_unchanged() -> Result<()> {
    for way in Way::ALL {
        let site = Site::build(way)?;
        check::check(&site)?;
        Receiver::of(&site)?;
    }
    Ok(())
}

#[test]
fn frames_go_through_every_gateway() -> Result<()> {
    for passage in Passage::ALL {
        Crossing::build(passage)?.make_ready()?;
    }
    Ok(())
}

#[test]
fn a_way_that_does_not_deliver_is_refused() -> Result<()> {
    let site = Site::build(Way::Routing)?;
    site.lab.node("a2")?.netns().set_sysctl("net.ipv4.ip_forward", "0")?;
    let error = refusal(&site)?;
    ensure!(error.contains("the first packet by kernel routing"), "{error}");
    Ok(())
}

#[test]
fn a_way_that_loses_some_packets_is_refused() -> Result<()> {
    let site = Site::build(Way::Routing)?;
    let rules = "table ip lossy { chain forward {
        type filter hook forward priority filter; udp sport 12345 drop; }; }";
    let mut nft = site.lab.node("a2")?.netns().command("nft");
    command::output_with_input(nft.args(["-f", "-"]), rules)?;
    let error = refusal(&site)?;
    ensure!(error.contains("4096 packets by kernel routing"), "{error}");
    Ok(())
}

#[test]
fn a_way_that_changes_packets_is_refused() -> Result<()> {
    let site = Site::build(Way::Routing)?;
    let rules = "table ip changing { chain forward {
        type filter hook forward priority filter; udp sport 12345 udp dport set 10; }; }";
    let mut nft = site.lab.node("a2")?.netns().command("nft");
    command::output_with_input(nft.args(["-f", "-"]), rules)?;
    let error = refusal(&site)?;
    ensure!(error.contains("what arrived is not what was sent"), "{error}");
    Ok(())
}

#[test]
fn a_way_that_is_another_is_refused() -> Result<()> {
    // One hop less than a redirect would leave.
    let mut site = Site::build(Way::Routing)?;
    site.way = Way::Floor;
    let error = refusal(&site)?;
    ensure!(error.contains("not as expected"), "{error}");
    let mut site = Site::build(Way::Direct)?;
    site.way = Way::Ipip;
    let error = refusal(&site)?;
    ensure!(error.contains("0 of 4096 packets are counted as ipip at from-pod"), "{error}");
    Ok(())
}

#[test]
fn icmp_messages_on_the_way_are_refused() -> Result<()> {
    let site = Site::build(Way::Direct)?;
    check::check(&site)?;
    let before = check::Before::of(&site)?;
    site.send_once(Flows::Many)?;
    before.expect_only_this_way(&site)?;
    Ping::to(site.lab.node("a2")?.address())?.expect_reply(site.lab.node("a1")?)?;
    let error = before.expect_only_this_way(&site).err().context("an ICMP message is not refused")?;
    ensure!(format!("{error:#}").contains("ICMP messages were sent"), "{error:#}");
    Ok(())
}
