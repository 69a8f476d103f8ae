//! What shard 0 is told by threads that work for it.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;
use wrs_core::action::Over;
use wrs_core::id::DialId;
use wrs_core::input::Input;

/// What came of something that took its time.
#[derive(Debug)]
pub enum News {
    /// What the shard is to be told as it stands.
    Fact(Input<'static>),
    /// A dial has succeeded: its socket becomes a connection, and then the shard is told.
    Connected(Connected),
}

/// A connection that this node has opened.
#[derive(Debug)]
pub struct Connected {
    /// The attempt.
    pub dial: DialId,
    /// The socket, ready for a shard.
    pub socket: Socket,
    /// Who is at its other end.
    pub from: SocketAddr,
    /// The name or address that was dialed.
    pub host: String,
    /// What is spoken there.
    pub over: Over,
}

/// Puts news into the inbox of shard 0, from any thread.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(News) + Send + Sync>);

impl Tell {
    /// News go where `put` puts them; it must not wait.
    pub fn new(put: impl Fn(News) + Send + Sync + 'static) -> Self {
        Tell(Arc::new(put))
    }

    /// Tells a piece of news.
    pub fn tell(&self, news: News) {
        self.0(news);
    }

    /// Tells a fact.
    pub fn fact(&self, fact: Input<'static>) {
        self.tell(News::Fact(fact));
    }
}

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tell")
    }
}
