//! Calls that leave for the next instance, with their sockets.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::engine::Engine;
use super::model::Call;
use super::store::lock;
use super::stored::Writer;
use crate::media::WorkerId;
use crate::media::port_pool::LocalPort;
use crate::proto::value::Dict;

/// How long a worker may take to let go of a call: a machine on which another instance starts may be busy. The next instance waits for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A call that nobody works on any more.
pub struct HandedCall {
    pub id: SmolStr,
    /// As [`Engine::restore`] takes it.
    pub stored: Dict,
    /// All of its sockets, open and unread from now on.
    pub sockets: Vec<Arc<LocalPort>>,
}

impl Engine {
    /// Ids of all own calls, and whether each is recorded.
    pub fn own_calls(&self) -> Vec<(SmolStr, bool)> {
        let mut calls = Vec::new();
        self.for_each_call(|handle| {
            let call = lock(handle);
            if !call.ended && !call.foreign {
                calls.push((call.id.clone(), call.recording.is_active()));
            }
        });
        calls
    }

    /// Takes a call from its worker. It is not told about as ended, and stays in the store of calls if there is one. A worker that does not
    /// answer becomes one of the `hanging`, which are not asked again: their calls cannot go on anywhere.
    pub async fn hand_out(&self, id: &str, hanging: &mut Vec<WorkerId>) -> Option<HandedCall> {
        let handle = self.store.get(id)?;
        let (worker, asked) = {
            let call = lock(&handle);
            if call.ended {
                return None;
            }
            let is_asked = !hanging.contains(&call.worker);
            (call.worker, is_asked.then(|| self.plane.detach(call.worker, call.key)))
        };
        let answer = match asked {
            Some(asked) => tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok),
            None => None,
        };
        let Some(progress) = answer else {
            tracing::error!(call_id = id, worker = worker.0, "media worker hangs: the call is lost");
            hanging.push(worker);
            return None;
        };
        let mut call = lock(&handle);
        call.ended = true;
        let hosted_db = call.keyspace.unwrap_or(-1);
        let stored = Writer { interfaces: &self.interfaces, hosted_db }.write(&call, &progress);
        call.recording.hand_out();
        Some(HandedCall { id: call.id.clone(), stored, sockets: sockets(&call) })
    }

    /// Recordings of an earlier process end, but for those of calls that are known here.
    pub fn finish_left_recordings(&self) {
        let mut going_on = HashSet::new();
        self.for_each_call(|handle| going_on.extend(lock(handle).recording.prefix().map(str::to_owned)));
        self.recorder.finish_leftovers(going_on);
    }

    /// What has been recorded is in the files afterwards, and nothing more follows. No recording is finished.
    pub fn suspend_recordings(&self) {
        self.recorder.suspend();
    }
}

fn sockets(call: &Call) -> Vec<Arc<LocalPort>> {
    let mut sockets: Vec<Arc<LocalPort>> = Vec::new();
    let sections = call.parties.iter().flat_map(|party| {
        // An offer may have been given other ports than those that are used until the answer.
        party.media.iter().chain(party.offered.iter().map(|(_, media)| media))
    });
    for media in sections {
        for (_, set) in media.ports.sets() {
            let alternates = set.alternates.iter().flat_map(|other| [Some(&other.rtp), other.rtcp.as_ref()]);
            let all = [Some(&set.rtp), set.rtcp.as_ref()].into_iter().chain(alternates).flatten();
            for socket in all.chain(&set.further) {
                if !sockets.iter().any(|known| Arc::ptr_eq(known, socket)) {
                    sockets.push(Arc::clone(socket));
                }
            }
        }
    }
    sockets
}
