//! What a door sends back for a message.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::sync::oneshot;

use super::cookie_cache::Reply;

/// What to send back for a message.
pub enum Answer {
    /// Nothing.
    None,
    /// This.
    Now(Reply),
    /// What this yields, if anything.
    Later(Pin<Box<dyn Future<Output = Option<Reply>> + Send>>),
}

impl Answer {
    /// The reply, when it is there.
    pub async fn wait(self) -> Option<Reply> {
        match self {
            Answer::None => None,
            Answer::Now(reply) => Some(reply),
            Answer::Later(reply) => reply.await,
        }
    }

    /// What somebody else's work on the same request will yield.
    pub fn of(waiting: oneshot::Receiver<Reply>) -> Self {
        Answer::Later(Box::pin(async move { waiting.await.ok() }))
    }
}

/// Answers messages that come one by one.
pub trait Respond: Send + Sync {
    /// Must not block for long: it holds up everybody who comes by the same door.
    fn respond(&self, message: &[u8], peer: SocketAddr) -> Answer;

    /// Called when a reply has been sent: what the next message will need can be done while its sender thinks.
    fn prepare(&self) {}
}
