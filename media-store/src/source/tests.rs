//! Sources in the containers that announcements come in.

use super::*;

/// A tone of `samples` sample frames as a 16-bit WAV file.
fn wav(rate: u32, channels: u16, samples: u32) -> Vec<u8> {
    let data_len = samples * u32::from(channels) * 2;
    let mut out = Vec::new();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + data_len).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&rate.to_le_bytes());
    out.extend_from_slice(&(rate * u32::from(channels) * 2).to_le_bytes());
    out.extend_from_slice(&(channels * 2).to_le_bytes());
    out.extend_from_slice(b"\x10\0data");
    out.extend_from_slice(&data_len.to_le_bytes());
    for index in 0..samples {
        let sample = tone(index, rate);
        for _ in 0..channels {
            out.extend_from_slice(&sample.to_le_bytes());
        }
    }
    out
}

fn tone(index: u32, rate: u32) -> i16 {
    ((f64::from(index) * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin() * 8000.0) as i16
}

fn read_all(source: &mut AudioSource) -> Vec<i16> {
    let mut out = Vec::new();
    while source.read(&mut out).expect("readable") {}
    out
}

fn open(octets: Vec<u8>, rate: u32, channels: u8) -> AudioSource {
    AudioSource::open(Origin::Memory(octets.into()), rate, channels).expect("opens")
}

fn level(samples: &[i16]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

#[test]
fn same_rate_is_passed_sample_by_sample() {
    let mut source = open(wav(8000, 1, 12_345), 8000, 1);
    assert_eq!(source.duration(), Some(Duration::from_micros(1_543_125)));
    let samples = read_all(&mut source);
    let expected: Vec<i16> = (0..12_345).map(|index| tone(index, 8000)).collect();
    assert!(samples == expected, "{} samples", samples.len());
}

#[test]
fn rate_and_channels_are_converted() {
    for (rate, channels, out_rate, out_channels) in
        [(44_100, 2, 8000, 1), (8000, 1, 48_000, 2), (48_000, 2, 16_000, 1), (16_000, 1, 16_000, 2)]
    {
        let case = format!("{rate}/{channels} → {out_rate}/{out_channels}");
        let samples = read_all(&mut open(wav(rate, channels, rate * 2), out_rate, out_channels));
        let expected = (out_rate * 2 * u32::from(out_channels)) as usize;
        assert!(samples.len().abs_diff(expected) <= 64, "{case}: {} of {expected}", samples.len());
        assert!((level(&samples) - 5657.0).abs() < 120.0, "{case}: level {}", level(&samples));
    }
}

#[test]
fn seeking_is_exact_and_works_after_the_end() {
    let mut source = open(wav(8000, 1, 16_000), 8000, 1);
    read_all(&mut source);
    source.seek(Duration::from_millis(1500)).expect("seeks");
    let samples = read_all(&mut source);
    assert!(samples == (12_000..16_000).map(|index| tone(index, 8000)).collect::<Vec<_>>());
    source.seek(Duration::ZERO).expect("seeks");
    assert_eq!(read_all(&mut source).len(), 16_000);
    source.seek(Duration::from_secs(60)).expect("seeks");
    assert_eq!(read_all(&mut source).len(), 0);
}

#[test]
fn a_file_is_read_and_what_is_not_a_file_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("tone.wav");
    std::fs::write(&path, wav(8000, 1, 800)).expect("file");
    let mut source = AudioSource::open(Origin::File(path), 8000, 1).expect("opens");
    assert_eq!(read_all(&mut source).len(), 800);
    for bad in ["missing.wav", "/dev/zero", "."] {
        let result = AudioSource::open(Origin::File(directory.path().join(bad)), 8000, 1);
        assert!(matches!(result, Err(SourceError::Open { .. })), "{bad}");
    }
}

#[test]
fn octets_without_audio_are_an_error() {
    for octets in [&b""[..], b"no audio at all", &[0; 5000]] {
        assert!(AudioSource::open(Origin::Memory(octets.into()), 8000, 1).is_err());
    }
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n";
    assert!(AudioSource::open(Origin::Memory(playlist.as_bytes().into()), 8000, 1).is_err());
}

#[test]
fn rates_that_nobody_records_are_refused() {
    for (rate, wanted) in [(1, 48_000), (999, 8000), (768_001, 8000), (0x5f00_1f40, 8000)] {
        let refused = AudioSource::open(Origin::Memory(wav(rate, 1, 100).into()), wanted, 1).err();
        assert!(
            matches!(refused, Some(SourceError::SampleRate(told)) if told == rate),
            "{rate} Hz: {refused:?}"
        );
    }
    for rate in [1000, 768_000] {
        let mut source = open(wav(rate, 1, rate / 10), 8000, 1);
        let converted = read_all(&mut source).len();
        assert!((700..900).contains(&converted), "{rate} Hz: {converted} samples");
    }
}

#[test]
fn a_truncated_file_gives_what_is_there() {
    let mut octets = wav(8000, 1, 8000);
    octets.truncate(44 + 8001);
    assert_eq!(read_all(&mut open(octets, 8000, 1)).len(), 4000);
}

/// Encodes two seconds of tone with the library's own encoder; `None` when this machine has none.
fn encode(container: &str, encoder: &str, rate: u32) -> Option<Vec<u8>> {
    initialise();
    let codec = ffmpeg_next::encoder::find_by_name(encoder)?;
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join(format!("tone.{container}"));
    let mut output = format::output(&path).expect("output");
    let global_header = output.format().flags().contains(format::Flags::GLOBAL_HEADER);
    let mut context = codec::context::Context::new_with_codec(codec).encoder().audio().expect("encoder");
    let sample = codec.audio().expect("audio").formats().expect("formats").next().expect("a format");
    context.set_rate(rate as i32);
    context.set_format(sample);
    context.set_channel_layout(ChannelLayout::MONO);
    context.set_time_base((1, rate as i32));
    context.set_bit_rate(64_000);
    if global_header {
        context.set_flags(codec::Flags::GLOBAL_HEADER);
    }
    let mut context = context.open_as(codec).expect("opens");
    output.add_stream(codec).expect("stream").set_parameters(&context);
    output.write_header().expect("header");
    let time_base = output.stream(0).expect("stream").time_base();
    let mut write = |context: &mut ffmpeg_next::encoder::Audio| {
        let mut packet = packet::Packet::empty();
        while context.receive_packet(&mut packet).is_ok() {
            packet.set_stream(0);
            packet.rescale_ts((1, rate as i32), time_base);
            packet.write_interleaved(&mut output).expect("written");
        }
    };
    let frame_size = (context.frame_size() as usize).clamp(1, 4096);
    let mut converter =
        resampling::Context::get(SAMPLE, ChannelLayout::MONO, rate, sample, ChannelLayout::MONO, rate)
            .expect("converter");
    let total = 2 * rate as usize;
    for start in (0..total).step_by(frame_size) {
        let count = frame_size.min(total - start);
        let mut frame = frame::Audio::new(SAMPLE, count, ChannelLayout::MONO);
        frame.set_rate(rate);
        for (offset, pair) in frame.data_mut(0)[..count * 2].chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&tone((start + offset) as u32, rate).to_ne_bytes());
        }
        let mut converted = frame::Audio::new(sample, count, ChannelLayout::MONO);
        converter.run(&frame, &mut converted).expect("converted");
        converted.set_pts(Some(start as i64));
        context.send_frame(&converted).expect("sent");
        write(&mut context);
    }
    context.send_eof().expect("end");
    write(&mut context);
    output.write_trailer().expect("trailer");
    Some(std::fs::read(&path).expect("encoded"))
}

#[test]
fn compressed_files_come_out_with_their_length_and_level() {
    let mut tried = 0;
    for (container, encoder, rate) in [
        ("mp3", "libmp3lame", 44_100),
        ("ogg", "libvorbis", 48_000),
        ("ogg", "libopus", 48_000),
        ("flac", "flac", 44_100),
        ("wav", "pcm_alaw", 8000),
    ] {
        let Some(octets) = encode(container, encoder, rate) else {
            eprintln!("no {encoder} on this machine");
            continue;
        };
        tried += 1;
        let mut source = open(octets, 8000, 1);
        let duration = source.duration().expect("a duration").as_secs_f64();
        assert!((duration - 2.0).abs() < 0.06, "{encoder}: {duration} s");
        for round in 0..2 {
            let samples = read_all(&mut source);
            assert!(samples.len().abs_diff(16_000) < 500, "{encoder} {round}: {}", samples.len());
            let middle = level(&samples[4000..12_000]);
            assert!((middle - 5657.0).abs() < 300.0, "{encoder} {round}: level {middle}");
            source.seek(Duration::ZERO).expect("seeks");
        }
    }
    assert!(tried >= 2, "this machine has hardly any encoder");
}
