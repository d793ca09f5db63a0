//! RTP packets as a test sends and reads them, and what a stream of received ones says about the way.

use std::net::SocketAddr;
use std::time::Instant;

/// An RTP packet with a plain header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Time stamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Packet {
    /// The octets on the wire.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut out = vec![0x80, u8::from(self.marker) << 7 | self.payload_type];
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }

    /// Reads a packet without padding, CSRC and extension, which is all that the daemon may send for ours.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        if octets.len() < 12 || octets[0] != 0x80 {
            return None;
        }
        let word =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Some(Self {
            marker: octets[1] & 0x80 != 0,
            payload_type: octets[1] & 0x7f,
            sequence: u16::from_be_bytes([octets[2], octets[3]]),
            timestamp: word(4),
            ssrc: word(8),
            payload: octets[12..].to_vec(),
        })
    }
}

/// A packet that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// From where.
    pub from: SocketAddr,
    /// What.
    pub packet: Packet,
}

/// What became of a stream on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// Packets that arrived, duplicates not counted.
    pub received: usize,
    /// Gaps in the sequence numbers.
    pub lost: usize,
    /// Packets that arrived twice.
    pub duplicates: usize,
    /// Packets that arrived behind a later one.
    pub reordered: usize,
    /// Interarrival jitter (RFC 3550 §6.4.1) in milliseconds.
    pub jitter_ms: f64,
}

/// Measures the packets of the SSRC with the most packets.
pub fn quality(packets: &[Received], clock_rate: u32) -> Quality {
    let mut counts = std::collections::BTreeMap::new();
    packets.iter().for_each(|received| *counts.entry(received.packet.ssrc).or_insert(0) += 1);
    let main = counts.into_iter().max_by_key(|&(_, count)| count).map(|(ssrc, _)| ssrc);
    let packets: Vec<_> = packets.iter().filter(|received| Some(received.packet.ssrc) == main).collect();
    let mut quality = Quality::default();
    let Some(first) = packets.first() else { return quality };
    let mut seen = std::collections::BTreeSet::new();
    let (mut highest, mut last_transit): (i64, Option<f64>) = (0, None);
    for received in &packets {
        let offset = i64::from(received.packet.sequence.wrapping_sub(first.packet.sequence) as i16);
        if !seen.insert(offset) {
            quality.duplicates += 1;
            continue;
        }
        quality.reordered += usize::from(offset < highest);
        highest = highest.max(offset);
        let media = received.packet.timestamp.wrapping_sub(first.packet.timestamp) as i32;
        let transit = (received.at - first.at).as_secs_f64() - f64::from(media) / f64::from(clock_rate);
        if let Some(last) = last_transit.replace(transit) {
            quality.jitter_ms += ((transit - last).abs() * 1000.0 - quality.jitter_ms) / 16.0;
        }
    }
    quality.received = seen.len();
    let span = seen.last().zip(seen.first()).map_or(0, |(last, first)| last - first + 1);
    quality.lost = span as usize - seen.len();
    quality
}

/// The payloads' audio on the time line of the RTP time stamps: silence where packets are missing. A stream with another
/// SSRC (an announcement) begins where it arrived.
///
/// # Panics
/// When the codec has no decoder, or a payload is invalid.
pub fn decode(packets: &[Received], format: &codec::PayloadFormat) -> (Vec<i16>, u32) {
    let mut decoder = codec::new_decoder(format).expect("the codec has a decoder");
    let (rate, channels) = (decoder.sample_rate(), usize::from(decoder.channels()));
    let mut audio: Vec<i16> = Vec::new();
    let mut streams: Vec<(u32, Vec<&Received>)> = Vec::new();
    for received in packets.iter().filter(|received| received.packet.payload_type == format.payload_type) {
        match streams.iter_mut().find(|(ssrc, _)| *ssrc == received.packet.ssrc) {
            Some((_, stream)) => stream.push(received),
            None => streams.push((received.packet.ssrc, vec![received])),
        }
    }
    let begin = streams.first().map(|(_, stream)| stream[0].at);
    for (_, mut stream) in streams {
        let first = stream[0].packet.timestamp;
        let mut voice: Vec<i16> = Vec::new();
        let start =
            begin.map_or(0, |begin| ((stream[0].at - begin).as_secs_f64() * f64::from(rate)) as usize);
        stream.sort_by_key(|received| received.packet.timestamp.wrapping_sub(first) as i32);
        for received in stream {
            let elapsed = received.packet.timestamp.wrapping_sub(first) as i32;
            let Ok(elapsed) = u64::try_from(elapsed) else { continue };
            let mut samples = Vec::new();
            decoder.decode(&received.packet.payload, &mut samples).expect("a valid payload");
            let position = (elapsed * u64::from(rate) / u64::from(format.clock_rate)) as usize;
            // A decoder may hold back some samples at the start; more than 60 ms apart is a gap.
            if position > voice.len() + rate as usize * 60 / 1000 {
                voice.resize(position, 0);
            }
            voice.extend(samples.chunks_exact(channels).map(|frame| frame[0]));
        }
        audio.resize(audio.len().max(start + voice.len()), 0);
        audio[start..].iter_mut().zip(&voice).for_each(|(sum, sample)| *sum = sum.saturating_add(*sample));
    }
    (audio, rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn quality_counts_loss_duplicates_and_reordering_across_the_wrap() {
        let start = Instant::now();
        let received = |sequence: u16| Received {
            at: start + Duration::from_millis(20) * u32::from(sequence.wrapping_sub(65_534)),
            from: "127.0.0.1:1".parse().expect("literal"),
            packet: Packet {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp: 160 * u32::from(sequence.wrapping_sub(65_534)),
                ssrc: 1,
                payload: vec![],
            },
        };
        let packets: Vec<_> = [65_534, 65_535, 1, 0, 1, 4].into_iter().map(received).collect();
        let quality = quality(&packets, 8000);
        assert_eq!((quality.received, quality.lost, quality.duplicates, quality.reordered), (5, 2, 1, 1));
        assert!(quality.jitter_ms < 0.01, "{quality:?}");
    }
}
