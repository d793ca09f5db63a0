//! Event packets and audio through a transcoder that makes tones of events and events of tones.

#![no_main]

use std::time::{Duration, Instant};

use codec::graph::{DtmfPlan, Instead, TonePlan, TranscodePlan, Transcoder};
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [choice, packets @ ..] = input else { return };
    let format = |pt, name| PayloadFormat::new(pt, name, 8000, 1);
    let plan = TranscodePlan::new(format(0, "PCMU"), format(8, "PCMA"), EncoderOptions::default());
    let Ok(mut transcoder) = Transcoder::new(&plan, 1, 1) else { return };
    let event = format(101, "telephone-event");
    transcoder.set_companions([(&event, &event)].into_iter());
    let instead = [Instead::Same, Instead::Random, Instead::Silence, Instead::Digit(7)][usize::from(choice >> 6)].clone();
    let events = (choice & 1 != 0).then_some((101, 8000));
    transcoder.set_dtmf(&DtmfPlan {
        events_become_tones: choice & 2 != 0,
        tones: (choice & 4 != 0).then_some(TonePlan { instead, events, keeps_audio: choice & 8 != 0 }),
    });
    let mut now = Instant::now();
    let (mut sequence, mut timestamp) = (0u16, 0u32);
    let mut rest = packets;
    while let [kind, jump, length, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        sequence = sequence.wrapping_add(u16::from(kind >> 4) + 1);
        timestamp = timestamp.wrapping_add(u32::from(*jump) * 40);
        let mut packet = vec![0; 12];
        let Some(header) = packet.first_chunk_mut() else { return };
        write_header(header, false, if kind & 1 == 0 { 0 } else { 101 }, sequence, timestamp, 7);
        packet.extend_from_slice(payload);
        let Ok(parsed) = RtpPacket::parse(&packet) else { continue };
        let mut octets = 0;
        transcoder.push(now, parsed, &mut |out| octets += out.payload.len());
        // At most what waited, and 200 ms of an event for each packet that was kept back.
        assert!(octets < 64 * 1024, "{octets}");
        now += Duration::from_millis(u64::from(*jump));
    }
});
