//! Files of recorded streams below `/proc/rtpengine/<table>/calls`, into which the kernel copies what it forwards, and user space what
//! it forwards: a reader finds both in one place and in one order.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::abi::{self, Command};
use super::control::Control;

/// All streams, for whoever needs to find one. Cheap to clone.
#[derive(Clone)]
pub struct KernelStreams {
    control: Arc<Control>,
    /// By recording and stream of the data plane; held for a look-up or an entry.
    numbers: Arc<Mutex<HashMap<(u64, u64), u32>>>,
}

/// The directory of a recorded call; it goes with its files when this does.
pub struct KernelCall {
    streams: KernelStreams,
    recording: u64,
    index: u32,
    /// What is registered.
    own: Vec<u64>,
}

impl KernelStreams {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self { control, numbers: Arc::default() }
    }

    /// The kernel's number of a stream, if it has one.
    pub fn find(&self, recording: u64, stream: u64) -> Option<u32> {
        self.numbers().get(&(recording, stream)).copied()
    }

    /// A directory for the streams of a recording.
    pub fn add_call(&self, recording: u64, prefix: &str) -> io::Result<KernelCall> {
        let mut message = abi::call(Command::AddCall, 0, prefix);
        self.control.ask(&mut message)?;
        let index = abi::call_index(&message);
        Ok(KernelCall { streams: self.clone(), recording, index, own: Vec::new() })
    }

    fn numbers(&self) -> MutexGuard<'_, HashMap<(u64, u64), u32>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KernelCall {
    /// A file for a stream of the data plane; returns its number.
    pub fn add_stream(&mut self, stream: u64, name: &str) -> io::Result<u32> {
        let mut message = abi::stream(Command::AddStream, self.index, 0, name);
        self.streams.control.ask(&mut message)?;
        let number = abi::stream_index(&message);
        self.alias(stream, number);
        Ok(number)
    }

    /// Another stream of the data plane whose packets belong into the file of that number.
    pub fn alias(&mut self, stream: u64, number: u32) {
        self.streams.numbers().insert((self.recording, stream), number);
        self.own.push(stream);
    }

    /// A packet that user space has forwarded, from the IP header on.
    pub fn push(&self, number: u32, arrival_us: u64, headers: &[u8], payload: &[u8]) -> io::Result<()> {
        self.streams.control.tell(&abi::packet(number, arrival_us, headers, payload))
    }

    /// Nothing waits for a reader.
    pub fn is_drained(&self, number: u32) -> bool {
        let mut message = abi::stream(Command::GetStream, 0, number, "");
        self.streams.control.ask(&mut message).is_err() || abi::stream_waiting(&message) == 0
    }
}

impl Drop for KernelCall {
    fn drop(&mut self) {
        {
            let mut numbers = self.streams.numbers();
            for stream in &self.own {
                numbers.remove(&(self.recording, *stream));
            }
        }
        let message = abi::call(Command::DelCall, self.index, "");
        if let Err(error) = self.streams.control.tell(&message) {
            tracing::debug!(%error, "the files of a recorded call were gone already");
        }
    }
}
