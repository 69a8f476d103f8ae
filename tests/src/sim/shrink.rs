//! The smallest spec that still breaks the same rule.
//!
//! First the run is cut behind the violation, then whole kinds of faults are switched off, then single fault actions are
//! taken away by halves (delta debugging, Zeller 1999). A candidate counts only if it breaks the rule with the same name.

use super::{Outcome, Scenario, Spec};

/// A shrunk run.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest spec found.
    pub spec: Spec,
    /// What it comes to.
    pub outcome: Outcome,
    /// Runs that were tried.
    pub runs: u32,
}

/// Shrinks `spec` within `runs_max` runs. `None` if it breaks no rule.
pub fn shrink(scenario: &dyn Scenario, spec: &Spec, runs_max: u32) -> Option<Shrunk> {
    let outcome = scenario.run_caught(spec);
    let rule = outcome.violation.as_ref()?.rule;
    let mut best = Shrunk { spec: spec.clone(), outcome, runs: 1 };
    let mut attempt = |best: &mut Shrunk, candidate: Spec| {
        if best.runs >= runs_max || candidate == best.spec {
            return false;
        }
        best.runs += 1;
        let outcome = scenario.run_caught(&candidate);
        let same = outcome.violation.as_ref().is_some_and(|violation| violation.rule == rule);
        if same {
            best.spec = candidate;
            best.outcome = outcome;
        }
        same
    };
    cut(&mut best, &mut attempt);
    for fault in scenario.faults() {
        if !best.spec.is_off(fault) {
            let mut candidate = best.spec.clone();
            candidate.off.push((*fault).to_owned());
            attempt(&mut best, candidate);
        }
    }
    thin(&mut best, &mut attempt);
    cut(&mut best, &mut attempt);
    Some(best)
}

type Attempt<'a> = dyn FnMut(&mut Shrunk, Spec) -> bool + 'a;

/// Ends the run where the violation shows.
fn cut(best: &mut Shrunk, attempt: &mut Attempt<'_>) {
    let event = best.outcome.violation.as_ref().map_or(0, |violation| violation.event);
    if event > 0 && event < best.spec.events {
        let candidate = Spec { events: event, ..best.spec.clone() };
        attempt(best, candidate);
    }
    let mut step = best.spec.events / 2;
    while step > 0 {
        let candidate = Spec { events: best.spec.events - step, ..best.spec.clone() };
        if !attempt(best, candidate) {
            step /= 2;
        }
        step = step.min(best.spec.events / 2);
    }
}

/// Takes fault actions away, in ever smaller groups.
fn thin(best: &mut Shrunk, attempt: &mut Attempt<'_>) {
    let mut group = best.outcome.actions as usize;
    while group > 0 {
        let mut from = 0;
        loop {
            let kept: Vec<u32> = (0..best.outcome.actions).filter(|number| !best.spec.skips(*number)).collect();
            let Some(taken) = kept.get(from..kept.len().min(from + group)).filter(|taken| !taken.is_empty()) else {
                break;
            };
            let mut skipped: Vec<u32> = best.spec.skip.iter().cloned().flatten().chain(taken.iter().copied()).collect();
            skipped.sort_unstable();
            let candidate = best.spec.skipping(&skipped);
            if !attempt(best, candidate) {
                from += group;
            }
        }
        group /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Coverage, Violation};
    use super::*;

    /// Breaks its rule if actions 13 and 40 both happen, with loss on, in at least 300 events.
    struct Toy;

    impl Scenario for Toy {
        fn faults(&self) -> &'static [&'static str] {
            &["loss", "crash"]
        }

        fn run(&self, spec: &Spec, _trace: bool) -> Outcome {
            let broken = spec.events >= 300 && !spec.is_off("loss") && !spec.skips(13) && !spec.skips(40);
            let violation =
                broken.then(|| Violation { rule: "toy", detail: String::new(), event: 450.min(spec.events) });
            Outcome { events: spec.events, digest: 1, actions: 64, violation, coverage: Coverage::default() }
        }
    }

    #[test]
    fn only_what_is_needed_remains() {
        let shrunk = shrink(&Toy, &Spec::new(5, 20_000), 1_000).unwrap();
        assert_eq!(shrunk.spec.events, 300);
        assert_eq!(shrunk.spec.off, ["crash"]);
        let kept: Vec<u32> = (0..64).filter(|number| !shrunk.spec.skips(*number)).collect();
        assert_eq!(kept, [13, 40]);
    }

    #[test]
    fn a_sound_spec_does_not_shrink() {
        assert!(shrink(&Toy, &Spec::new(5, 10), 10).is_none());
    }
}
