//! The one line that names a run: `seed=7,events=20000,off=loss+crash,skip=3+9-12`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A run: its seed, its length, and what the shrinker has taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Decides everything.
    pub seed: u64,
    /// How many events the first phase takes.
    pub events: u64,
    /// Kinds of faults that are switched off, by the scenario's names.
    pub off: Vec<String>,
    /// Fault actions that do not happen, by their number within the run. Sorted, disjoint.
    pub skip: Vec<RangeInclusive<u32>>,
}

impl Spec {
    /// A run with nothing taken away.
    #[must_use]
    pub fn new(seed: u64, events: u64) -> Spec {
        Spec { seed, events, off: Vec::new(), skip: Vec::new() }
    }

    /// Whether the kind of fault named `fault` is switched off.
    #[must_use]
    pub fn is_off(&self, fault: &str) -> bool {
        self.off.iter().any(|off| off == fault)
    }

    /// Whether the fault action `number` does not happen.
    #[must_use]
    pub fn skips(&self, number: u32) -> bool {
        self.skip.iter().any(|range| range.contains(&number))
    }

    /// This spec, with exactly `numbers` (ascending) skipped.
    #[must_use]
    pub fn skipping(&self, numbers: &[u32]) -> Spec {
        let mut skip: Vec<RangeInclusive<u32>> = Vec::new();
        for number in numbers {
            match skip.last_mut() {
                Some(range) if range.end() + 1 == *number => *range = *range.start()..=*number,
                _ => skip.push(*number..=*number),
            }
        }
        Spec { skip, ..self.clone() }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={},events={}", self.seed, self.events)?;
        if !self.off.is_empty() {
            write!(f, ",off={}", self.off.join("+"))?;
        }
        for (at, range) in self.skip.iter().enumerate() {
            f.write_str(if at == 0 { ",skip=" } else { "+" })?;
            write!(f, "{}", range.start())?;
            if range.start() != range.end() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Spec, String> {
        let number = |value: &str| value.parse::<u64>().map_err(|error| format!("{value}: {error}"));
        let mut spec = Spec::new(0, 20_000);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part}: expected name=value"))?;
            match name {
                "seed" => spec.seed = number(value)?,
                "events" => spec.events = number(value)?,
                "off" => spec.off = value.split('+').map(str::to_owned).collect(),
                "skip" => {
                    for range in value.split('+') {
                        let (from, to) = range.split_once('-').unwrap_or((range, range));
                        spec.skip.push(number(from)? as u32..=number(to)? as u32);
                    }
                }
                _ => return Err(format!("{name}: not a part of a spec")),
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_its_text() {
        let spec = Spec { off: vec!["loss".into(), "rot".into()], ..Spec::new(9, 500) }.skipping(&[1, 2, 3, 7]);
        let text = spec.to_string();
        assert_eq!(text, "seed=9,events=500,off=loss+rot,skip=1-3+7");
        assert_eq!(text.parse::<Spec>().unwrap(), spec);
        assert!(spec.skips(2) && !spec.skips(4) && spec.is_off("rot"));
        assert!("seed=x".parse::<Spec>().is_err());
    }
}
