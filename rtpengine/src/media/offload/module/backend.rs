//! One worker's side of the module.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::super::{Backend, BackendError, Carries, Counters, Handle, Indices, Reason, Rung, Target, Track};
use super::abi::{self, Command};
use super::control::Control;
use super::streams::KernelStreams;

/// Targets of one worker in the module's table.
pub struct ModuleBackend {
    control: Arc<Control>,
    streams: KernelStreams,
    known: HashMap<Handle, Known>,
    next: u64,
}

struct Known {
    target: Target,
    tracks: usize,
    /// The last that the kernel said before it forgot the target.
    last: Option<(Counters, SmallVec<[Indices; 1]>)>,
}

impl ModuleBackend {
    pub(super) fn new(control: Arc<Control>, streams: KernelStreams) -> Self {
        Self { control, streams, known: HashMap::new(), next: 0 }
    }

    fn ask(
        &self,
        command: Command,
        known: &Known,
        counters: &mut Counters,
    ) -> Result<SmallVec<[Indices; 1]>, BackendError> {
        let mut message = abi::statistics(command, known.target.local);
        self.control.ask(&mut message).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::EPROTO | libc::EIO) => BackendError::Unknown,
            _ => BackendError::System { operation: "statistics", source: error },
        })?;
        let reply = message.as_slice().try_into().map_err(|_| BackendError::Unknown)?;
        abi::read_statistics(reply, &known.target, known.tracks, counters);
        Ok(abi::read_indices(reply, &known.target, known.tracks))
    }

    fn remove_local(&self, local: SocketAddr) -> io::Result<()> {
        self.control.ask(&mut abi::statistics(Command::DelTarget, local))
    }
}

impl Backend for ModuleBackend {
    fn rung(&self) -> Rung {
        Rung::Module
    }

    fn most_tracks(&self) -> usize {
        abi::MAX_TRACKS
    }

    fn takes_secured(&self) -> bool {
        true
    }

    fn accepts(&mut self, target: &Target) -> Result<(), Reason> {
        let formats = match &target.carries {
            Carries::Rtp(formats) => formats.len(),
            Carries::Datagrams => 0,
        };
        if formats > abi::MAX_FORMATS {
            return Err(Reason::PayloadTypes);
        }
        if target.outputs.len() > abi::MAX_OUTPUTS {
            return Err(Reason::SeveralOutputs);
        }
        let source = target.source.address();
        if source.is_some_and(|source| source.is_ipv4() != target.local.is_ipv4()) {
            return Err(Reason::Families);
        }
        for output in &target.outputs {
            if output.local.is_ipv4() != output.peer.is_ipv4() {
                return Err(Reason::Families);
            }
            // The module looks routes up without an interface.
            if is_of_a_link(output.peer) {
                return Err(Reason::Route);
            }
            if output.tap.is_some() {
                return Err(Reason::Recorded);
            }
        }
        match target.tap {
            Some(tap) if self.streams.find(tap.recording, target.stream.0).is_none() => Err(Reason::Recorded),
            _ => Ok(()),
        }
    }

    fn add(&mut self, target: &Target, tracks: &[Track]) -> Result<Handle, BackendError> {
        self.add_secured(target, tracks, &[])
    }

    fn add_secured(
        &mut self,
        target: &Target,
        tracks: &[Track],
        indices: &[Indices],
    ) -> Result<Handle, BackendError> {
        let stream = match target.tap {
            None => None,
            Some(tap) => {
                let stream = self.streams.find(tap.recording, target.stream.0);
                Some(stream.ok_or(BackendError::Unsuitable(Reason::Recorded))?)
            }
        };
        let failed = |operation| move |source| BackendError::System { operation, source };
        self.control.tell(&abi::target(target, tracks, indices, stream)).map_err(failed("add target"))?;
        for (number, output) in target.outputs.iter().enumerate() {
            let added = self.control.tell(&abi::destination(target, number, output, tracks, indices));
            if let Err(error) = added {
                let _ = self.remove_local(target.local);
                return Err(failed("add destination")(error));
            }
        }
        self.next += 1;
        let handle = Handle(self.next);
        self.known.insert(handle, Known { target: target.clone(), tracks: tracks.len(), last: None });
        Ok(handle)
    }

    fn read(&mut self, handle: Handle, counters: &mut Counters) -> Result<(), BackendError> {
        let known = self.known.get(&handle).ok_or(BackendError::Unknown)?;
        match &known.last {
            Some((last, _)) => counters.clone_from(last),
            None => {
                self.ask(Command::GetStatistics, known, counters)?;
            }
        }
        Ok(())
    }

    fn indices(&mut self, handle: Handle) -> SmallVec<[Indices; 1]> {
        let last = self.known.get(&handle).and_then(|known| known.last.as_ref());
        last.map(|(_, indices)| indices.clone()).unwrap_or_default()
    }

    fn remove(&mut self, handle: Handle) {
        let Some(known) = self.known.get(&handle) else { return };
        // The module waits for what is on its way: these are the last numbers.
        let mut last = Counters::default();
        match self.ask(Command::DelTarget, known, &mut last) {
            Ok(indices) => {
                if let Some(known) = self.known.get_mut(&handle) {
                    known.last = Some((last, indices));
                }
            }
            Err(error) => {
                tracing::debug!(local = %known.target.local, %error, "a target was gone already");
            }
        }
    }

    fn forget(&mut self, handle: Handle) {
        self.known.remove(&handle);
    }
}

impl Drop for ModuleBackend {
    fn drop(&mut self) {
        for known in self.known.values().filter(|known| known.last.is_none()) {
            let _ = self.remove_local(known.target.local);
        }
    }
}

fn is_of_a_link(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local())
}
