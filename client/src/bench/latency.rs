//! Times in a histogram, and how they are shown: in milliseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// The longest time that is told apart, in ns: longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// Significant decimal digits that are kept.
const DIGITS: u8 = 3;

/// No times yet, in ns.
pub fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
        .map_err(|error| Failure::refused(format!("no histogram: {error}")))
}

/// Counts a time.
pub fn record(times: &mut Histogram<u64>, time: Duration) {
    times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(LONGEST_NS));
}

/// Nanoseconds in milliseconds, to the microsecond.
pub fn milliseconds(nanos: impl TryInto<u64>) -> String {
    format!("{:.3}", nanos.try_into().unwrap_or(u64::MAX) as f64 / 1e6)
}

/// `min 0.1  p50 0.2  max 0.3 ms` with these quantiles.
pub fn text(times: &Histogram<u64>, quantiles: &[(&str, f64)]) -> String {
    let shown: Vec<String> =
        values(times, quantiles).into_iter().map(|(name, nanos)| format!("{name} {}", milliseconds(nanos))).collect();
    format!("{} ms", shown.join("  "))
}

/// An object of the same numbers; `null` where there was no time.
pub fn json(times: &Histogram<u64>, quantiles: &[(&str, f64)]) -> Value {
    let value = |nanos: u64| if times.is_empty() { Value::Null } else { Value::from(nanos as f64 / 1e6) };
    let members = values(times, quantiles).into_iter().map(|(name, nanos)| (name.to_owned(), value(nanos)));
    Value::Object(Map::from_iter(members))
}

fn values<'n>(times: &Histogram<u64>, quantiles: &[(&'n str, f64)]) -> Vec<(&'n str, u64)> {
    let mut values = vec![("min", times.min())];
    values.extend(quantiles.iter().map(|(name, quantile)| (*name, times.value_at_quantile(*quantile))));
    values.push(("max", times.max()));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_milliseconds() {
        let mut times = histogram().unwrap();
        for ms in 1..=100 {
            record(&mut times, Duration::from_millis(ms));
        }
        let shown = json(&times, &[("p50", 0.5), ("p99", 0.99)]);
        let near = |name: &str, ms: f64| (shown[name].as_f64().unwrap() - ms).abs() < ms / 500.0;
        assert!(near("min", 1.0) && near("p50", 50.0) && near("p99", 99.0) && near("max", 100.0), "{shown}");
        assert!(text(&times, &[("p50", 0.5)]).starts_with("min 1.0"), "{}", text(&times, &[]));
        assert_eq!(json(&histogram().unwrap(), &[])["max"], Value::Null);
        record(&mut times, Duration::from_secs(100_000));
        assert!(times.max() >= LONGEST_NS);
    }
}
