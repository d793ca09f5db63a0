//! A compound RTCP packet as the line of a log and as the JSON that Homer knows. Names and order are historical.

use std::fmt::Write;

use crate::proto::json;
use crate::proto::rtcp::read::{blocks, packets, sender_report};
use crate::proto::rtcp::receiver_report::ReportBlock;
use crate::proto::rtcp::{self, Header, receiver_report, sdes, sender_report as sr, word, xr};

/// `key=value, ` of all packets that are known; `None` when there is none.
pub fn text(compound: &[u8]) -> Option<String> {
    let mut pairs = Pairs(String::new());
    for (header, packet) in packets(compound) {
        match header.packet_type {
            sr::TYPE | receiver_report::TYPE => {
                pairs.header(header, packet);
                pairs.word("ssrc", packet, rtcp::HEADER);
                if let Some((_, info)) = sender_report(header, packet) {
                    pairs.number("ntp_sec", info.ntp >> 32);
                    pairs.number("ntp_fractions", info.ntp & 0xffff_ffff);
                    pairs.number("rtp_ts", info.rtp_timestamp);
                    pairs.number("sender_packets", info.packets);
                    pairs.number("sender_bytes", info.octets);
                }
                blocks(header, packet).for_each(|block| pairs.block(&block));
            }
            sdes::TYPE => pairs.header(header, packet),
            xr::TYPE => {
                pairs.header(header, packet);
                pairs.word("ssrc", packet, rtcp::HEADER);
                xr::blocks(packet).for_each(|block| pairs.extended(block));
            }
            _ => {}
        }
    }
    let text = pairs.0;
    text.strip_suffix(", ").map(str::to_owned)
}

struct Pairs(String);

/// Writing to a string cannot fail, so results are not looked at.
impl Pairs {
    fn number(&mut self, key: &str, value: impl Into<u64>) {
        let _ = write!(self.0, "{key}={}, ", value.into());
    }

    fn word(&mut self, key: &str, octets: &[u8], at: usize) {
        self.number(key, word(octets, at).unwrap_or(0));
    }

    fn half(&mut self, key: &str, octets: &[u8], at: usize) {
        let value = octets.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]));
        self.number(key, value);
    }

    fn octet(&mut self, key: &str, octets: &[u8], at: usize) {
        self.number(key, octets.get(at).copied().unwrap_or(0));
    }

    fn header(&mut self, header: Header, packet: &[u8]) {
        let first = packet.first().copied().unwrap_or(0);
        self.number("version", first >> 6);
        self.number("padding", first >> 5 & 1);
        self.number("count", header.count);
        self.number("payloadtype", header.packet_type);
        self.number("length", (header.length / 4 - 1) as u64);
    }

    fn block(&mut self, block: &ReportBlock) {
        self.number("ssrc", block.ssrc);
        self.number("fraction_lost", block.fraction_lost);
        self.number("packet_loss", unsigned_loss(block));
        self.number("last_seq", block.highest_sequence);
        self.number("jitter", block.jitter);
        self.number("last_sr", block.last_sender_report);
        self.number("delay_since_last_sr", block.delay_since_last);
    }

    /// A block of an extended report (RFC 3611 §4).
    fn extended(&mut self, block: &[u8]) {
        self.octet("rb_header_blocktype", block, 0);
        self.octet("rb_header_blockspecdata", block, 1);
        self.half("rb_header_blocklength", block, 2);
        match block.first() {
            Some(4) => {
                self.word("rb_rr_time_ntp_sec", block, 4);
                self.word("rb_rr_time_ntp_frac", block, 8);
            }
            Some(5) => {
                for at in (4..block.len().saturating_sub(11)).step_by(12) {
                    self.word("rb_dlrr_ssrc", block, at);
                    self.word("rb_dlrr_lrr", block, at + 4);
                    self.word("rb_dlrr_dlrr", block, at + 8);
                }
            }
            Some(6) if block.len() >= 40 => self.statistics(block),
            Some(7) if block.len() >= 36 => self.voip(block),
            _ => {}
        }
    }

    fn statistics(&mut self, block: &[u8]) {
        self.word("rb_stats_ssrc", block, 4);
        self.half("rb_stats_begin_seq", block, 8);
        self.half("rb_stats_end_seq", block, 10);
        let words = [
            "lost_packets",
            "duplicate_packets",
            "jitter_min",
            "jitter_max",
            "jitter_mean",
            "jitter_deviation",
        ];
        for (index, name) in words.into_iter().enumerate() {
            self.word(&format!("rb_stats_{name}"), block, 12 + 4 * index);
        }
        for (index, name) in ["min", "max", "mean", "deviation"].into_iter().enumerate() {
            self.octet(&format!("rb_stats_toh_{name}"), block, 36 + index);
        }
    }

    fn voip(&mut self, block: &[u8]) {
        self.word("rb_voip_mtc_ssrc", block, 4);
        for (index, name) in ["loss_rate", "discard_rate", "burst_den", "gap_den"].into_iter().enumerate() {
            self.octet(&format!("rb_voip_mtc_{name}"), block, 8 + index);
        }
        for (index, name) in
            ["burst_dur", "gap_dur", "rnd_trip_delay", "end_sys_delay"].into_iter().enumerate()
        {
            self.half(&format!("rb_voip_mtc_{name}"), block, 12 + 2 * index);
        }
        let octets = [
            "signal_lvl",
            "noise_lvl",
            "rerl",
            "gmin",
            "r_factor",
            "ext_r_factor",
            "mos_lq",
            "mos_cq",
            "rx_config",
        ];
        for (index, name) in octets.into_iter().enumerate() {
            self.octet(&format!("rb_voip_mtc_{name}"), block, 20 + index);
        }
        for (index, name) in ["jb_nom", "jb_max", "jb_abs_max"].into_iter().enumerate() {
            self.half(&format!("rb_voip_mtc_{name}"), block, 30 + 2 * index);
        }
    }
}

/// Readers know the 24 bits as an unsigned number.
fn unsigned_loss(block: &ReportBlock) -> u32 {
    block.cumulative_lost as u32 & 0xff_ffff
}

/// The object for Homer; `None` when there is nothing in it.
pub fn object(compound: &[u8]) -> Option<String> {
    let mut members: Vec<String> = Vec::new();
    for (header, packet) in packets(compound) {
        match header.packet_type {
            sr::TYPE | receiver_report::TYPE => {
                if let Some((_, info)) = sender_report(header, packet) {
                    members.push(format!(
                        "\"sender_information\":{{\"ntp_timestamp_sec\":{},\"ntp_timestamp_usec\":{},\"octets\":{},\
                         \"rtp_timestamp\":{}, \"packets\":{}}}",
                        info.ntp >> 32,
                        info.ntp & 0xffff_ffff,
                        info.octets,
                        info.rtp_timestamp,
                        info.packets
                    ));
                }
                let blocks: Vec<String> = blocks(header, packet).map(|block| json_block(&block)).collect();
                members.push(format!(
                    "\"ssrc\":{},\"type\":{},\"report_count\":{},\"report_blocks\":[{}]",
                    word(packet, rtcp::HEADER).unwrap_or(0),
                    header.packet_type,
                    header.count,
                    blocks.join(",")
                ));
            }
            sdes::TYPE => {
                let items: Vec<String> = sdes::items(header, packet).map(json_item).collect();
                members.push(format!(
                    "\"sdes_report_count\":{},\"sdes_information\": [ {}]",
                    header.count,
                    items.join(",")
                ));
            }
            _ => {}
        }
    }
    (!members.is_empty()).then(|| format!("{{ {} }}", members.join(",")))
}

fn json_block(block: &ReportBlock) -> String {
    format!(
        "{{\"source_ssrc\":{},\"highest_seq_no\":{},\"fraction_lost\":{},\"ia_jitter\":{},\"packets_lost\":{},\
         \"lsr\":{},\"dlsr\":{}}}",
        block.ssrc,
        block.highest_sequence,
        block.fraction_lost,
        block.jitter,
        unsigned_loss(block),
        block.last_sender_report,
        block.delay_since_last
    )
}

fn json_item((ssrc, kind, text): (u32, u8, &[u8])) -> String {
    let mut quoted = String::new();
    json::write_text(&String::from_utf8_lossy(text), &mut quoted);
    format!("{{\"sdes_chunk_ssrc\":{ssrc},\"type\":{kind},\"text\":{quoted}}}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// The packet of the recorded samples.
    fn sample() -> Vec<u8> {
        let mut compound = words(&[
            0x81c8_000c,
            286_331_153,
            4_004_215_314,
            3_008_122_880,
            6400,
            40,
            6400,
            572_662_306,
            0x0500_0001,
            1040,
            20,
            0,
            0,
            0x81ca_0005,
            286_331_153,
        ]);
        compound.extend_from_slice(b"\x01\x0aalice@host\0\0\0\0");
        compound
    }

    #[test]
    fn line_is_as_it_always_was() {
        let expected = "version=2, padding=0, count=1, payloadtype=200, length=12, ssrc=286331153, ntp_sec=4004215314, \
            ntp_fractions=3008122880, rtp_ts=6400, sender_packets=40, sender_bytes=6400, ssrc=572662306, fraction_lost=5, \
            packet_loss=1, last_seq=1040, jitter=20, last_sr=0, delay_since_last_sr=0, version=2, padding=0, count=1, \
            payloadtype=202, length=5";
        assert_eq!(text(&sample()).as_deref(), Some(expected));
        assert_eq!(text(&words(&[0x81cb_0001, 7])), None, "a goodbye alone says nothing");
    }

    #[test]
    fn json_is_as_homer_knows_it() {
        let expected = "{ \"sender_information\":{\"ntp_timestamp_sec\":4004215314,\"ntp_timestamp_usec\":3008122880,\
            \"octets\":6400,\"rtp_timestamp\":6400, \"packets\":40},\"ssrc\":286331153,\"type\":200,\"report_count\":1,\
            \"report_blocks\":[{\"source_ssrc\":572662306,\"highest_seq_no\":1040,\"fraction_lost\":5,\"ia_jitter\":20,\
            \"packets_lost\":1,\"lsr\":0,\"dlsr\":0}],\"sdes_report_count\":1,\"sdes_information\": [ \
            {\"sdes_chunk_ssrc\":286331153,\"type\":1,\"text\":\"alice@host\"}] }";
        assert_eq!(object(&sample()).as_deref(), Some(expected));
        assert_eq!(object(&words(&[0x81cb_0001, 7])), None);
    }

    #[test]
    fn extended_reports_are_told_block_by_block() {
        let report = words(&[0x80cf_0008, 7, 0x0400_0002, 1, 2, 0x0500_0003, 8, 9, 10]);
        let expected = "version=2, padding=0, count=0, payloadtype=207, length=8, ssrc=7, rb_header_blocktype=4, \
            rb_header_blockspecdata=0, rb_header_blocklength=2, rb_rr_time_ntp_sec=1, rb_rr_time_ntp_frac=2, \
            rb_header_blocktype=5, rb_header_blockspecdata=0, rb_header_blocklength=3";
        assert!(text(&report).is_some_and(|told| told.starts_with(expected)), "{:?}", text(&report));
    }

    proptest! {
        #[test]
        fn any_octets_are_told_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = text(&octets);
            let _ = object(&octets);
        }
    }
}
