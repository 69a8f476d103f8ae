//! What clients asked and were told, each register by itself, and the search for an order that explains it.
//!
//! The rules beside it know where in the one log each operation took effect, and look at positions alone. This one knows nothing of
//! logs: it sees values, as a client does (Wing and Gong 1993, Lowe 2017).

use super::app::{App, KEYS};
use super::world::World;
use crate::sim::model::{Register, RegisterOperation};
use crate::sim::oracle::{Seen, Verdict, impossible_from, linearizable};

/// Steps of a search for each register of a seed.
const STEPS_MAX: u64 = 1_000_000;

/// The history of every register.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Counts questions and answers: no two are at the same time.
    clock: u64,
    registers: [Vec<Seen<Register>>; KEYS],
}

/// A write that is under way: its register and its place in the history.
pub type Pending = (u8, usize);

/// The value that a client's request writes.
fn value(client: u8, sequence: u32) -> u64 {
    u64::from(client) << 32 | u64::from(sequence)
}

impl Told {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Something is asked now.
    pub fn begin(&mut self) -> u64 {
        self.tick()
    }

    /// A client asks for a write.
    pub fn write(&mut self, key: u8, client: u8, sequence: u32) -> Pending {
        let from = self.tick();
        let register = &mut self.registers[usize::from(key)];
        let operation = RegisterOperation::Swap(value(client, sequence));
        register.push(Seen { from, to: None, operation, answer: None });
        (key, register.len() - 1)
    }

    /// A write is acknowledged.
    pub fn wrote(&mut self, (key, at): Pending) {
        let now = self.tick();
        if let Some(seen) = self.registers[usize::from(key)].get_mut(at) {
            seen.to = Some(now);
        }
    }

    /// A read that began at `from` is answered from `app`.
    pub fn read(&mut self, key: u8, from: u64, app: &App) {
        let to = Some(self.tick());
        let (client, sequence) = app.registers[usize::from(key)];
        let answer = Some(value(client, sequence));
        self.registers[usize::from(key)].push(Seen { from, to, operation: RegisterOperation::Read, answer });
    }

    /// What no order explains, in words; and the registers for which the search gave up.
    pub fn unexplained(&self) -> (Option<String>, u64) {
        let mut undecided = 0;
        for (key, register) in self.registers.iter().enumerate() {
            match linearizable(&Register(0), register, STEPS_MAX) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Impossible => return (Some(Told::picture(key, register)), undecided),
            }
        }
        (None, undecided)
    }

    fn picture(key: usize, register: &[Seen<Register>]) -> String {
        let until = impossible_from(&Register(0), register, STEPS_MAX).unwrap_or(u64::MAX);
        let told = register.iter().find(|seen| seen.to == Some(until));
        let text = |seen: &Seen<Register>| match (seen.operation, seen.answer) {
            (RegisterOperation::Read, answer) => format!("reads {:x}", answer.unwrap_or_default()),
            (RegisterOperation::Swap(value), _) => format!("writes {value:x}"),
        };
        let beside = register.iter().filter(|seen| {
            let began = told.map_or(0, |told| told.from);
            seen.from < until && seen.to.is_none_or(|to| to > began)
        });
        let beside: Vec<String> =
            beside.map(|seen| format!("[{}..{:?} {}]", seen.from, seen.to, text(seen))).take(20).collect();
        format!("register {key}, {} operations, up to {until}: {}", register.len(), beside.join(" "))
    }
}

impl World {
    /// There is an order of all that clients asked that explains all that they were told.
    pub(super) fn check_told(&mut self) {
        let (unexplained, undecided) = self.history.told.unexplained();
        self.coverage.add("histories undecided", undecided);
        if self.trace && undecided > 0 {
            println!("{undecided} histories undecided");
        }
        if let Some(detail) = unexplained {
            self.fail("what clients saw has an order", detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Spec;

    /// Runs a world and keeps what its clients were told.
    fn told(seed: u64) -> Told {
        let mut world = World::new(&Spec::new(seed, 20_000), false);
        while world.events < 6_000 && world.turn() {}
        assert_eq!(world.violation, None);
        world.history.told
    }

    #[test]
    fn a_run_whose_answers_are_tampered_with_is_refused() {
        let mut refused = 0;
        for seed in 0..40 {
            let told = told(seed);
            assert_eq!(told.unexplained(), (None, 0), "seed {seed}");
            for key in 0..KEYS {
                let Some((at, stale)) = stale_answer(&told.registers[key]) else { continue };
                let mut tampered = told.clone();
                tampered.registers[key][at].answer = Some(stale);
                let (unexplained, undecided) = tampered.unexplained();
                assert!(unexplained.is_some_and(|text| text.starts_with(&format!("register {key}"))), "seed {seed}");
                assert_eq!(undecided, 0);
                refused += 1;
            }
        }
        assert!(refused > 20, "{refused}");
    }

    /// The last read, and what was written before the write that was acknowledged last before it.
    fn stale_answer(register: &[Seen<Register>]) -> Option<(usize, u64)> {
        let at = register.iter().rposition(|seen| seen.operation == RegisterOperation::Read)?;
        let before = |from: u64| {
            let ended = register.iter().filter(move |seen| seen.to.is_some_and(|to| to < from));
            ended.filter(|seen| seen.operation != RegisterOperation::Read).max_by_key(|seen| seen.to)
        };
        match before(before(register[at].from)?.from)?.operation {
            RegisterOperation::Swap(value) => Some((at, value)),
            RegisterOperation::Read => None,
        }
    }
}
