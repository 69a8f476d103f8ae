//! Many seeds on several threads; each failure comes out as one line that replays it.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Spec;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name; the shrinker keeps it.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
    /// The number of the event after which it was seen.
    pub event: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at event {}: {}", self.rule, self.event, self.detail)
    }
}

/// How often a run came where bugs live. Told with each run so that a simulator that never gets deep is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(Vec<(&'static str, u64)>);

impl Coverage {
    /// Counts `name` once more.
    pub fn hit(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts `name` `count` times more.
    pub fn add(&mut self, name: &'static str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((name, count)),
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Coverage) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }

    /// How often `name` was counted.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        for (at, (name, count)) in sorted.iter().enumerate() {
            if at > 0 {
                f.write_str("  ")?;
            }
            write!(f, "{name} {count}")?;
        }
        Ok(())
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// The digest of all of them.
    pub digest: u64,
    /// How many fault actions were drawn, skipped ones included: the shrinker's handle.
    pub actions: u32,
    /// The first broken rule.
    pub violation: Option<Violation>,
    /// Where the run came.
    pub coverage: Coverage,
}

/// Something that runs specs. A spec decides a run entirely.
pub trait Scenario: Sync {
    /// The kinds of faults that a spec can switch off.
    fn faults(&self) -> &'static [&'static str];

    /// Runs `spec` to its end or to the first broken rule. With `trace`, tells every event on standard output.
    fn run(&self, spec: &Spec, trace: bool) -> Outcome;

    /// [`Scenario::run`], where a panic is a broken rule too.
    fn run_caught(&self, spec: &Spec) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| self.run(spec, false))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let detail = text.unwrap_or_default();
            Outcome { violation: Some(Violation { rule: "no panic", detail, event: 0 }), ..Outcome::default() }
        })
    }
}

/// What a range of seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: u64,
    /// Events that happened in them.
    pub events: u64,
    /// Seeds that ran twice to compare digests.
    pub compared: u64,
    /// The specs that broke a rule, ascending by seed.
    pub failures: Vec<(Spec, Violation)>,
    /// Where the runs came, together.
    pub coverage: Coverage,
}

/// How to run a range of seeds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Events in the first phase of each.
    pub events: u64,
    /// Threads.
    pub threads: usize,
    /// Every how many seeds one runs twice to compare digests; 0: never.
    pub compare_every: u64,
    /// Stop after this many failures.
    pub failures_max: usize,
}

/// Runs every seed of `plan`, telling `progress` of each outcome, in no particular order.
pub fn run_seeds(scenario: &dyn Scenario, plan: &Plan, progress: &(dyn Fn(&Spec, &Outcome) + Sync)) -> Summary {
    let next = AtomicU64::new(plan.seeds.start);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= plan.seeds.end {
                break;
            }
            let spec = Spec::new(seed, plan.events);
            let mut outcome = scenario.run_caught(&spec);
            let compare = plan.compare_every > 0 && seed.is_multiple_of(plan.compare_every);
            if compare && outcome.violation.is_none() {
                let again = scenario.run_caught(&spec);
                if again.digest != outcome.digest {
                    let detail = format!("digests {:x} and {:x}", outcome.digest, again.digest);
                    outcome.violation = Some(Violation { rule: "a seed replays", detail, event: outcome.events });
                }
            }
            progress(&spec, &outcome);
            let Ok(mut summary) = summary.lock() else { break };
            summary.seeds += 1;
            summary.compared += u64::from(compare);
            summary.events += outcome.events;
            summary.coverage.merge(&outcome.coverage);
            if let Some(violation) = outcome.violation {
                summary.failures.push((spec, violation));
                if summary.failures.len() >= plan.failures_max {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_default();
    summary.failures.sort_by_key(|(spec, _)| spec.seed);
    summary
}
