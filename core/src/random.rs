//! The one source of chance: ChaCha20, keyed from outside.
//!
//! A server takes the key from the operating system, a test from its seed; nothing else decides anything, so a seed
//! replays a run to the byte. ChaCha20 is a cryptographic generator, so that channel tokens may come from it.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A deterministic stream of random bits.
#[derive(Clone, Debug)]
pub struct Random(ChaCha20Rng);

impl Random {
    /// A stream keyed with 32 bytes: equal keys give equal streams.
    pub fn from_key(key: [u8; 32]) -> Self {
        Random(ChaCha20Rng::from_seed(key))
    }

    /// An independent stream, one per shard: the key of the node with a stream number.
    pub fn stream(key: [u8; 32], stream: u64) -> Self {
        let mut rng = ChaCha20Rng::from_seed(key);
        rng.set_stream(stream);
        Random(rng)
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A hundred and twenty-eight random bits.
    pub fn bits128(&mut self) -> u128 {
        (u128::from(self.bits()) << 64) | u128::from(self.bits())
    }

    /// A number below `bound`, 0 when `bound` is 0. The bias is at most `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `length` random upper-case hexadecimal digits.
    pub fn hex(&mut self, length: usize) -> String {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
        (0..length).filter_map(|_| DIGITS.get(self.below(16) as usize)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_give_equal_streams_and_stream_numbers_part_them() {
        let draw = |mut r: Random| [r.bits(), r.bits()];
        assert_eq!(draw(Random::from_key([7; 32])), draw(Random::stream([7; 32], 0)));
        assert_ne!(draw(Random::stream([7; 32], 0)), draw(Random::stream([7; 32], 1)));
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = Random::from_key([1; 32]);
        let mut seen = [false; 5];
        for _ in 0..1_000 {
            seen[random.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }
}
