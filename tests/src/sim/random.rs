//! Chance from a seed, and a digest of what happened.
//!
//! Guards the rule that a seed replays a run to the byte: nothing else in a simulation decides anything.

/// A seeded sequence (SplitMix64, Steele, Lea, Flood 2014). Fast; never for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(mix(seed ^ 0x6A09_E667_F3BC_C909))
    }

    /// An independent sequence for `purpose`, so that one part's draws never shift another's. Draws nothing from this one.
    #[must_use]
    pub fn branch(&self, purpose: u64) -> Random {
        Random(mix(self.0 ^ mix(purpose.wrapping_add(0x9E37_79B9_7F4A_7C15))))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True `ppm` times in a million. Draws nothing if `ppm` is 0.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// True or false.
    pub fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// A span with the given mean, exponentially distributed to within a few percent, at most 16 means.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // -ln(u) for u in (0, 1], as log2 by counting zeroes plus a linear part: no floating point, so no platform differs.
        let bits = self.bits();
        let zeroes = u64::from(bits.leading_zeros().min(22));
        let fraction = (bits << (zeroes + 1)) >> 48;
        let log2_q16 = (zeroes << 16) + (65_536 - fraction);
        ((u128::from(mean) * u128::from(log2_q16) * 45_426) >> 32) as u64
    }

    /// One of `choices`, or `None` if there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len() as u64) as usize)
    }

    /// The position of one of `weights`, each as likely as it is heavy; 0 if all are 0.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut at = self.below(weights.iter().map(|weight| u64::from(*weight)).sum());
        for (position, weight) in weights.iter().enumerate() {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return position,
            }
        }
        0
    }

    /// Brings `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// A digest of a run: two runs of one spec must end with the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds a number.
    #[inline]
    pub fn add(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    /// Adds bytes.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
        self.add(bytes.len() as u64);
    }

    /// The digest so far.
    #[must_use]
    pub fn value(self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_do_not_disturb_each_other() {
        let root = Random::new(7);
        let mut once = root.branch(1);
        let mut other = root.branch(2);
        let first: Vec<u64> = (0..8).map(|_| once.bits()).collect();
        let mut again = root.branch(1);
        other.bits();
        assert_eq!(first, (0..8).map(|_| again.bits()).collect::<Vec<_>>());
        assert_ne!(first[0], root.branch(2).bits());
    }

    #[test]
    fn exponential_has_its_mean() {
        let mut random = Random::new(1);
        let sum: u64 = (0..100_000).map(|_| random.exponential(1_000)).sum();
        let mean = sum / 100_000;
        assert!((950..=1_080).contains(&mean), "{mean}");
    }

    #[test]
    fn weights_are_kept() {
        let mut random = Random::new(3);
        let mut counts = [0u32; 3];
        for _ in 0..9_000 {
            counts[random.weighted(&[1, 0, 2])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2_700..=3_300).contains(&counts[0]), "{counts:?}");
    }
}
