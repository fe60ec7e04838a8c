//! What happens next, at random but repeatable.

use std::collections::BTreeSet;

use crate::model::{IDS, Id, Model, Op, Part, SLOTS};

/// A stream of numbers (xorshift64*).
pub(crate) struct Choice(u64);

impl From<u64> for Choice {
    fn from(seed: u64) -> Self {
        Self(seed | 1)
    }
}

impl Choice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn below_usize(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn id(&mut self) -> Id {
        IDS[self.below_usize(IDS.len())]
    }

    /// One or two slots, whoever has them.
    fn slots(&mut self) -> BTreeSet<u8> {
        (0..1 + self.below(2)).map(|_| u8::try_from(self.below(u64::from(SLOTS))).unwrap()).collect()
    }

    fn part(&mut self) -> Part {
        match self.below(6) {
            0..2 => Part::Slots(self.slots()),
            2 => Part::Public(self.coin()),
            3..5 => {
                Part::Class([None, Some("restricted"), Some("unrestricted"), Some("mta-only")][self.below_usize(4)])
            }
            _ => Part::Monitor(self.coin()),
        }
    }

    /// Something about one VM.
    fn vm(&mut self) -> Op {
        let id = self.id();
        match self.below(10) {
            0..4 => Op::Set(id, self.slots(), self.below(4) == 0),
            4..8 => Op::Patch(id, self.part()),
            _ => Op::Delete(id),
        }
    }

    fn policy(&mut self) -> Op {
        match self.coin() {
            true => Op::Monitor(self.below(3) == 0),
            false => Op::MtaClosed(self.coin()),
        }
    }

    /// Two VMs exchange what they have, if they have something.
    fn swap(&mut self, model: &Model) -> Option<Vec<Op>> {
        let all: Vec<_> = model.truth.vms.iter().collect();
        let [(one, first), (other, second)] = *all.get(self.below_usize(3)..)?.get(..2)? else { return None };
        let slots = |id: Id, of: &BTreeSet<u8>| Op::Patch(id, Part::Slots(of.clone()));
        Some(vec![slots(one, &second.slots), slots(other, &first.slots)])
    }

    /// One call.
    pub(crate) fn single(&mut self, model: &Model) -> Op {
        match self.below(20) {
            0..11 => self.vm(),
            11..13 => self.policy(),
            _ if model.is_waiting() => match self.below(3) {
                0 => Op::Confirm,
                1 => Op::Rollback,
                _ => self.vm(),
            },
            _ => {
                let ops = match self.coin().then(|| self.swap(model)).flatten() {
                    Some(swap) => swap,
                    None => (0..1 + self.below(4))
                        .map(|_| if self.below(4) == 0 { self.policy() } else { self.vm() })
                        .collect(),
                };
                // Long enough that none runs out by itself here.
                Op::Txn(ops, (self.below(3) == 0).then_some(3_600))
            }
        }
    }

    /// Anything.
    pub(crate) fn op(&mut self, model: &Model) -> Op {
        if self.below(12) > 0 {
            return self.single(model);
        }
        let mut free: BTreeSet<u8> = (0..SLOTS).collect();
        let mut inventory = std::collections::BTreeMap::new();
        for id in IDS {
            let slots: BTreeSet<u8> = self.slots().intersection(&free).copied().collect();
            if !slots.is_empty() {
                free.retain(|slot| !slots.contains(slot));
                inventory.insert(id, (slots, self.below(4) == 0));
            }
        }
        Op::Sync(inventory)
    }

    /// Now and then a change is to be made at a revision only, now and then at one that is over.
    pub(crate) fn guard(&mut self, revision: u64) -> Option<u64> {
        match self.below(8) {
            0 => Some(revision),
            1 => Some(revision.saturating_sub(1)),
            _ => None,
        }
    }
}
