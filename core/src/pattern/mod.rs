//! The five messaging patterns: who gets a message.

pub mod envelope;
pub mod queue;

/// How messages travel in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pattern {
    /// Back to the sender.
    Echo,
    /// To every client.
    PubSub,
    /// To exactly one client, round robin.
    PushPull,
    /// Requests to all others, replies to the request's origin.
    ReqRepl,
    /// Requests to one client, round robin; replies to the request's origin.
    FanInOut,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Pattern; 5] =
        [Pattern::Echo, Pattern::PubSub, Pattern::PushPull, Pattern::ReqRepl, Pattern::FanInOut];

    /// The name as it stands in the REST API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pattern::Echo => "echo",
            Pattern::PubSub => "pub-sub",
            Pattern::PushPull => "push-pull",
            Pattern::ReqRepl => "req-repl",
            Pattern::FanInOut => "fan-in-out",
        }
    }

    /// Whether its clients stand in a queue.
    pub const fn has_queue(self) -> bool {
        matches!(self, Pattern::PushPull | Pattern::FanInOut)
    }

    /// Reads what [`Pattern::as_str`] writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pattern| pattern.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_reads_what_it_writes_and_nothing_else() {
        for pattern in Pattern::ALL {
            assert_eq!(Pattern::parse(pattern.as_str()), Some(pattern));
        }
        for bad in ["", "Echo", "pub_sub", "pubsub", " echo"] {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }
}
