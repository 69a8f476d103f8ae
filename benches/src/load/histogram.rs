//! Times in buckets that grow by an eighth: constant cost per sample, percentiles within 12.5 %.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const FINE_BITS: u32 = 3;
const BUCKETS: usize = 64 << FINE_BITS;

/// Counts of times.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Times counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time that `share` (0 to 1) of all samples do not exceed, rounded up to its bucket's end; the largest
    /// sample where that is less.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos(bucket_end(index).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }
}

fn bucket(nanos: u64) -> usize {
    let doubling = nanos.max(1).ilog2();
    let Some(shift) = doubling.checked_sub(FINE_BITS) else { return nanos as usize };
    // The leading one is part of the fraction, so that each doubling starts where the last ended.
    ((shift as usize) << FINE_BITS) + (nanos >> shift) as usize
}

fn bucket_end(index: usize) -> u64 {
    let shift = (index >> FINE_BITS).saturating_sub(1);
    let fraction = index - (shift << FINE_BITS);
    ((fraction as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_time_within_an_eighth() {
        for nanos in (0..20_000).chain((10..40).map(|bits| (1 << bits) + 12_345)) {
            let end = bucket_end(bucket(nanos));
            assert!(end >= nanos && end - nanos <= nanos / 8, "{nanos} in a bucket that ends at {end}");
        }
    }

    #[test]
    fn percentiles_are_where_the_samples_are() {
        let mut times = Histogram::default();
        (1..=1000).for_each(|micros| times.add(Duration::from_micros(micros)));
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = times.percentile(share).as_secs_f64() * 1e6;
            assert!(found >= micros && found <= micros * 1.125, "{share}: {found}");
        }
        assert_eq!(times.percentile(1.0), Duration::from_micros(1000));
        assert_eq!(times.total(), 1000);
    }
}
