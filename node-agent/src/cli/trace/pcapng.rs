//! Packets as a pcapng file (draft-ietf-opsawg-pcapng): one interface block for each interface that the
//! programs run at, and with each packet what became of it as its comment.

use std::{borrow::Cow, collections::BTreeMap, io::Write, time::Duration};

use anyhow::Context as _;
use humantime_serde::re::humantime::parse_rfc3339;
use pcap_file::{
    DataLink, Endianness,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{
                InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
            },
            opt_common::CommonOption,
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::line::story;
use crate::api::TraceRow;

/// A file that packets are written to.
pub(super) struct CaptureFile<W: Write> {
    writer: PcapNgWriter<W>,
    snaplen: u32,
    /// Numbers of the interfaces that have a block.
    interfaces: BTreeMap<String, u32>,
}

impl<W: Write> CaptureFile<W> {
    /// Begins the file.
    pub(super) fn new(output: W, snaplen: u32) -> anyhow::Result<Self> {
        let application = concat!("node-agent ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(application))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(output, section).context("cannot begin the file")?;
        Ok(Self { writer, snaplen, interfaces: BTreeMap::new() })
    }

    /// Writes a packet.
    pub(super) fn put(&mut self, row: &TraceRow) -> anyhow::Result<()> {
        let interface_id = self.interface(row)?;
        let time = parse_rfc3339(&row.time).with_context(|| format!("{:?} is no time", row.time))?;
        let data = bytes(&row.packet).with_context(|| format!("{:?} is no hexadecimal", row.packet))?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: time.duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO),
            original_len: row.final_bytes,
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Common(CommonOption::Comment(Cow::Owned(story(row))))],
        };
        self.writer.write_pcapng_block(block).map(drop).context("cannot write a packet to the file")
    }

    /// Number of the interface that the program ran at, with a block of its own.
    fn interface(&mut self, row: &TraceRow) -> anyhow::Result<u32> {
        let egress = row.hook.starts_with("to-");
        let at = if egress { &row.out_interface } else { &row.in_interface };
        let name = at.clone().unwrap_or_else(|| "unknown".to_owned());
        if let Some(number) = self.interfaces.get(&name) {
            return Ok(*number);
        }
        let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, self.snaplen);
        block.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(&name)),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ];
        self.writer.write_pcapng_block(block).context("cannot write an interface to the file")?;
        let number = u32::try_from(self.interfaces.len())?;
        self.interfaces.insert(name, number);
        Ok(number)
    }

    /// Ends the file.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.writer.into_inner().flush().context("cannot write the end of the file")
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.as_bytes().chunks(2).map(|pair| digit(pair).filter(|_| pair.len() == 2)).collect()
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;
    use crate::trace::encapsulated;

    /// The blocks of a file with these packets.
    fn blocks(rows: &[TraceRow]) -> Vec<Block<'static>> {
        let mut output = Vec::new();
        let mut file = CaptureFile::new(&mut output, 128).unwrap();
        rows.iter().for_each(|row| file.put(row).unwrap());
        file.finish().unwrap();
        let mut reader = PcapNgReader::new(&output[..]).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(block.unwrap().0.into_owned());
        }
        blocks
    }

    #[test]
    fn a_packet_has_its_interface_its_time_and_its_story() {
        let row = encapsulated();
        let later = TraceRow { time: "2026-11-23T12:00:01.000000001Z".to_owned(), ..row.clone() };
        let blocks = blocks(&[row.clone(), later]);
        let [
            Block::InterfaceDescription(interface),
            Block::EnhancedPacket(first),
            Block::EnhancedPacket(second),
        ] = &blocks[..]
        else {
            panic!("{blocks:?}")
        };
        assert_eq!((interface.linktype, interface.snaplen), (DataLink::ETHERNET, 128));
        assert!(interface.options.contains(&InterfaceDescriptionOption::IfName("veth-a1-0".into())));
        assert_eq!(interface.ts_resolution(), InterfaceTsResolution::NANO);
        assert_eq!(first.timestamp, Duration::new(12 * 3600 + 1, 123_456_789));
        assert_eq!(
            (first.interface_id, first.original_len, &first.data[..]),
            (0, 94, &[0xde, 0xad, 0, 15][..])
        );
        let comment = EnhancedPacketOption::Common(CommonOption::Comment(story(&row).into()));
        assert_eq!(first.options, [comment]);
        assert_eq!((second.interface_id, second.timestamp.subsec_nanos()), (0, 1));
    }

    #[test]
    fn interfaces_are_those_that_the_programs_run_at() {
        let row = encapsulated();
        let sent = TraceRow { hook: "to-uplink".to_owned(), ..row.clone() };
        let nowhere = TraceRow { out_interface: None, ..sent.clone() };
        let ids: Vec<_> = blocks(&[row.clone(), sent, nowhere, row])
            .iter()
            .filter_map(|block| match block {
                Block::EnhancedPacket(packet) => Some(packet.interface_id),
                _ => None,
            })
            .collect();
        assert_eq!(ids, [0, 1, 2, 0]);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let mut file = CaptureFile::new(Vec::new(), 128).unwrap();
        for (time, packet, message) in [("noon", "", "is no time"), ("", "0", "is no")] {
            let row = TraceRow { time: time.to_owned(), packet: packet.to_owned(), ..encapsulated() };
            assert!(file.put(&row).unwrap_err().to_string().contains(message));
        }
        assert_eq!((bytes("0aff"), bytes("0af"), bytes("zz")), (Some(vec![10, 255]), None, None));
    }
}
