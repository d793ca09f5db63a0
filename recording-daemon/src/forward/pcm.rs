//! Raw audio over TCP or TLS: metadata, NUL, then 16-bit samples of this machine's byte order.
//!
//! A connection is a task with a bounded queue in front. A receiver that does not read, or is not there, costs its own
//! audio and nobody else's; the connection is made anew with the next audio.

use std::time::Duration;

use bytes::Bytes;
use media_store::sink::http::Verification;
use media_store::sink::http::tls;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

use crate::config::PcmConfig;
use crate::convert::Converter;
use crate::output::AudioFormat;
use crate::ssrc::DecodedFrame;
use crate::staging::InOrder;

/// Frames of audio that wait, ten seconds of telephone packets.
const QUEUE: usize = 500;
/// For connecting, and for a receiver that does not read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts to connect.
const REST: Duration = Duration::from_secs(1);
/// Longer gaps are not filled, in seconds.
const MAX_GAP: i64 = 30;
/// Samples of silence in one message.
const SILENCE: u64 = 8000;

/// A connection for audio, or several one after the other.
#[derive(Debug)]
pub struct PcmSink {
    queue: mpsc::Sender<Bytes>,
    channels: u16,
    dropped: u64,
}

/// Audio of one source on its way.
pub struct SourcePcm {
    sink: PcmSink,
    to: AudioFormat,
    converter: Option<Converter>,
    converted: Vec<i16>,
    /// RTP timestamp that follows, and its clock rate.
    expected: Option<(u32, u32)>,
}

impl PcmSink {
    /// Connects in the background. `metadata` go first.
    pub fn open(runtime: &Handle, config: &PcmConfig, metadata: &str, channels: u16) -> Self {
        if metadata.is_empty() {
            tracing::warn!("No metadata present for forwarding connection");
        }
        let mut header = metadata.replace('\0', "").into_bytes();
        header.push(0);
        let (queue, waiting) = mpsc::channel(QUEUE);
        runtime.spawn(run(config.clone(), header, waiting));
        Self { queue, channels, dropped: 0 }
    }

    fn send(&mut self, samples: &[i16]) {
        if samples.is_empty() {
            return;
        }
        let octets: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        if let Err(TrySendError::Full(_)) = self.queue.try_send(octets.into()) {
            if self.dropped == 0 {
                tracing::warn!("The receiver of forwarded audio is too slow, audio is dropped");
            }
            self.dropped += 1;
        }
    }
}

impl InOrder for PcmSink {
    fn samples(&mut self, samples: &[i16]) {
        self.send(samples);
    }

    fn silence(&mut self, frames: u64) {
        let mut left = frames * u64::from(self.channels);
        while left > 0 {
            let step = left.min(SILENCE);
            self.send(&vec![0; step as usize]);
            left -= step;
        }
    }
}

impl SourcePcm {
    /// Mono at the configured rate.
    pub fn new(sink: PcmSink, config: &PcmConfig) -> Self {
        let to = AudioFormat { sample_rate: config.sample_rate, channels: 1 };
        Self { sink, to, converter: None, converted: Vec::new(), expected: None }
    }

    /// Sends a frame; a gap in front of it, as its timestamp tells, is silence.
    pub fn push(&mut self, decoded: &DecodedFrame) {
        let DecodedFrame { timestamp, clock_rate, ref frame, .. } = *decoded;
        if let Some((expected, _)) = self.expected.filter(|(_, rate)| *rate == clock_rate) {
            let gap = i64::from(timestamp.wrapping_sub(expected).cast_signed());
            if (1..=MAX_GAP * i64::from(clock_rate)).contains(&gap) {
                let frames = gap * i64::from(self.to.sample_rate) / i64::from(clock_rate.max(1));
                self.sink.silence(frames.unsigned_abs());
            }
        }
        let frames = frame.samples.len() / usize::from(frame.format.channels.max(1));
        let ticks = frames as u64 * u64::from(clock_rate) / u64::from(frame.format.sample_rate.max(1));
        self.expected = Some((timestamp.wrapping_add(ticks as u32), clock_rate));
        if self.converter.as_ref().is_none_or(|converter| converter.from() != frame.format) {
            self.converter = Some(Converter::new(frame.format, self.to));
        }
        self.converted.clear();
        if let Some(converter) = &mut self.converter {
            converter.convert(&frame.samples, &mut self.converted);
        }
        self.sink.send(&self.converted);
    }
}

async fn run(config: PcmConfig, header: Vec<u8>, mut waiting: mpsc::Receiver<Bytes>) {
    let mut complained = false;
    while let Some(first) = waiting.recv().await {
        match connect_and_send(&config, &header, first, &mut waiting).await {
            Ok(()) => return,
            Err(error) if !std::mem::replace(&mut complained, true) => {
                tracing::error!("Forwarding audio to '{}' failed: {error}", config.address);
            }
            Err(_) => {}
        }
        // What has become old meanwhile is lost; the next frame opens a new connection.
        tokio::time::sleep(REST).await;
        while waiting.try_recv().is_ok() {}
    }
}

async fn connect_and_send(
    config: &PcmConfig,
    header: &[u8],
    first: Bytes,
    waiting: &mut mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    let tcp = in_time(TcpStream::connect(&config.address)).await?;
    tcp.set_nodelay(true)?;
    if !config.tls {
        return send_all(tcp, header, first, waiting).await;
    }
    let host = config.address.rsplit_once(':').map_or(config.address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = in_time(tls::connect(host, tcp, Verification::None)).await?;
    send_all(stream, header, first, waiting).await
}

async fn send_all(
    mut stream: impl AsyncWrite + Unpin,
    header: &[u8],
    first: Bytes,
    waiting: &mut mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    in_time(stream.write_all(header)).await?;
    let mut next = Some(first);
    while let Some(audio) = next {
        in_time(stream.write_all(&audio)).await?;
        if waiting.is_empty() {
            in_time(stream.flush()).await?;
        }
        next = waiting.recv().await;
    }
    in_time(stream.shutdown()).await
}

async fn in_time<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
