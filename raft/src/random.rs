//! The only chance in the machine: a seeded sequence for election timeouts.

use core::hash::{Hash, Hasher};

/// SplitMix64 (Steele, Lea, Flood 2014): enough to spread timeouts, never used for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

/// Chance decides nothing until it is drawn, so two machines that differ in it only are alike.
impl Hash for Random {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0. Multiply-shift; the bias is below 2^-32 for any bound that is a timeout.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
