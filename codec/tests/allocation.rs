//! The packet path does not allocate once warm.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use codec::graph::{DtmfPlan, Instead, TonePlan, TranscodePlan, Transcoder};
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; the counter is a plain thread-local number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn warm_transcoder_does_not_allocate() {
    let sinks = [
        PayloadFormat::new(8, "PCMA", 8000, 1),
        PayloadFormat::new(9, "G722", 8000, 1),
        PayloadFormat::new(96, "opus", 48_000, 2),
    ];
    for sink in sinks {
        for ptime_ms in [20, 30] {
            let plan = TranscodePlan::new(
                PayloadFormat::new(0, "PCMU", 8000, 1),
                sink.clone(),
                EncoderOptions { ptime_ms: Some(ptime_ms), ..Default::default() },
            );
            let mut transcoder = Transcoder::new(&plan, 1, 1).unwrap();
            let events = Some((101, sink.clock_rate));
            let tones = Some(TonePlan { instead: Instead::Same, events, keeps_audio: false });
            transcoder.set_dtmf(&DtmfPlan { events_become_tones: true, tones });
            let mut sines = codec::dtmf::Sines::digit(8000, 5, 10);
            let (mut now, mut out) = (Instant::now(), 0);
            let mut octets = [0u8; 172];
            for n in 0..600u32 {
                if n == 300 {
                    ALLOCATIONS.with(|count| count.set(0));
                }
                // Now and then a packet is late, and one is lost.
                let number = match n % 50 {
                    20 => n + 1,
                    21 => n - 1,
                    30 => continue,
                    _ => n,
                };
                let mut header = [0; 12];
                write_header(&mut header, false, 0, number as u16, number * 160, 7);
                octets[..12].copy_from_slice(&header);
                octets[12..].iter_mut().enumerate().for_each(|(i, o)| *o = (n as usize * 7 + i) as u8);
                if n % 50 < 10 {
                    octets[12..].iter_mut().for_each(|o| *o = codec::g711::Law::Mu.compress(sines.sample()));
                }
                let Ok(packet) = RtpPacket::parse(&octets) else { unreachable!("valid header") };
                transcoder.push(now, packet, &mut |_| out += 1);
                now += Duration::from_millis(20);
            }
            let allocations = ALLOCATIONS.with(Cell::get);
            assert!(out > 300, "{} {ptime_ms} ms: {out} packets", sink.name);
            assert_eq!(allocations, 0, "{} {ptime_ms} ms", sink.name);
        }
    }
}
