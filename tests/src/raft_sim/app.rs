//! The replicated application: registers written by clients with sessions, so that a repeated request takes effect once.

use bytes::Bytes;

use crate::sim::Digest;

/// How many clients write.
pub const CLIENTS: usize = 8;
/// How many registers there are.
pub const KEYS: usize = 4;
const HEADER: usize = 14;
/// Bytes of the application's state.
const STATE_BYTES: usize = 16 + KEYS * 5 + CLIENTS * 4;

/// What a proposal asks: the payload of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which proposal this is; every try of a request is another.
    pub attempt: u64,
    /// Whose it is.
    pub client: u8,
    /// Which register it writes.
    pub key: u8,
    /// The client's own number for the request, from 1.
    pub sequence: u32,
}

impl Command {
    /// The payload, padded to `bytes`.
    #[must_use]
    pub fn encode(self, bytes: usize) -> Bytes {
        let mut out = Vec::with_capacity(bytes.max(HEADER));
        out.extend_from_slice(&self.attempt.to_le_bytes());
        out.push(self.client);
        out.push(self.key);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.resize(bytes.max(HEADER), self.attempt as u8);
        Bytes::from(out)
    }

    /// What a payload asks; `None` for an empty entry.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Command> {
        let (attempt, rest) = bytes.split_first_chunk::<8>()?;
        let (who, rest) = rest.split_first_chunk::<2>()?;
        let (sequence, _) = rest.split_first_chunk::<4>()?;
        Some(Command {
            attempt: u64::from_le_bytes(*attempt),
            client: who[0],
            key: who[1],
            sequence: u32::from_le_bytes(*sequence),
        })
    }
}

/// The application's state as of one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct App {
    /// The last entry applied.
    pub applied: u64,
    /// The chain of everything applied.
    pub chain: u64,
    /// Who wrote each register last: client and sequence.
    pub registers: [(u8, u32); KEYS],
    /// The newest request of each client that took effect.
    pub sessions: [u32; CLIENTS],
}

impl App {
    /// The state as bytes, with as many as `padding` more that follow from it.
    #[must_use]
    pub fn encode(&self, padding: usize) -> Bytes {
        let mut out = Vec::with_capacity(STATE_BYTES + padding);
        out.extend_from_slice(&self.applied.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        for (client, sequence) in self.registers {
            out.push(client);
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        for session in self.sessions {
            out.extend_from_slice(&session.to_le_bytes());
        }
        out.extend((0..padding as u64).map(|at| (self.chain.rotate_left(at as u32 % 64) ^ at) as u8));
        Bytes::from(out)
    }

    /// The state that bytes are; `None` if they are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<App> {
        let (applied, rest) = bytes.split_first_chunk::<8>()?;
        let (chain, mut rest) = rest.split_first_chunk::<8>()?;
        let (applied, chain) = (u64::from_le_bytes(*applied), u64::from_le_bytes(*chain));
        let mut app = App { applied, chain, ..App::default() };
        for register in &mut app.registers {
            let (client, after) = rest.split_first()?;
            let (sequence, after) = after.split_first_chunk::<4>()?;
            *register = (*client, u32::from_le_bytes(*sequence));
            rest = after;
        }
        for session in &mut app.sessions {
            let (number, after) = rest.split_first_chunk::<4>()?;
            *session = u32::from_le_bytes(*number);
            rest = after;
        }
        Some(app)
    }

    /// Applies the entry at `index`, whose chain is `chain`. Returns the command if it took effect.
    pub fn apply(&mut self, index: u64, chain: u64, command: Option<Command>) -> Option<Command> {
        self.applied = index;
        self.chain = chain;
        let command = command?;
        let session = self.sessions.get_mut(usize::from(command.client))?;
        if command.sequence <= *session {
            return None;
        }
        *session = command.sequence;
        if let Some(register) = self.registers.get_mut(usize::from(command.key)) {
            *register = (command.client, command.sequence);
        }
        Some(command)
    }
}

/// Extends the chain of a log by one entry: two equal chains mean two equal logs up to there.
#[must_use]
pub fn chain_after(chain: u64, term: u64, conf: bool, payload: &[u8]) -> u64 {
    let mut digest = Digest::default();
    digest.add(chain);
    digest.add(term << 1 | u64::from(conf));
    // Payloads are a short header and a padding that the header decides.
    digest.add_bytes(&payload[..payload.len().min(48)]);
    digest.add(payload.len() as u64);
    digest.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_takes_effect_once() {
        let command = Command { attempt: 7, client: 1, key: 2, sequence: 3 };
        assert_eq!(Command::decode(&command.encode(40)), Some(command));
        assert_eq!(Command::decode(&[]), None);
        let mut app = App::default();
        assert!(app.apply(1, 1, Some(command)).is_some());
        assert!(app.apply(2, 2, Some(Command { attempt: 8, ..command })).is_none());
        assert_eq!(app.registers[2], (1, 3));
        assert_eq!(app.encode(9).len(), STATE_BYTES + 9);
        assert_eq!(App::decode(&app.encode(9)), Some(app));
        assert_eq!(App::decode(&[0; STATE_BYTES - 1]), None);
    }
}
