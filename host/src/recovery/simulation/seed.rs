//! Chance, and what one seed makes of it: the plugin, its place, its faults.

use crate::plugin::spec::{Lost, Standby};
use shared::format::Format;

/// Splitmix: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to below `high`.
    pub(super) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// Once in `n` times.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub(super) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.next() % of.len() as u64).unwrap()]
    }
}

/// Where the plugins stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each waits within the block.
    SameBlock { adapt: bool },
    /// The faulty one is pipelined on its own, its neighbour waits within the block.
    Pipelined,
    /// Both are pipelined, in a section.
    Section,
    /// Each waits within the block, with nothing between them: they hand blocks on to each other.
    Row { adapt: bool },
    /// The same in a section.
    RowInSection,
}

/// What can befall a worker at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    DieBefore,
    DieWithin,
    DieAfter,
    Hang,
    Stop,
    Late,
    SlowFor,
    Lie,
    Tear,
    Fail,
    NotFinite,
    TooLoud,
    /// Answers at the deadline, or just after it.
    OnTheEdge,
    /// Answers the next block before it has been given anything.
    Hasty,
}

/// What can befall everything else between two callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// One that stands by dies.
    StandbyDies,
    /// Audio and recovery stand still, workers don't.
    HostFrozen,
    /// Everything stands still.
    Suspended,
    /// The device calls nobody; recovery goes on.
    Paused,
    /// The recovery thread is not scheduled for a while.
    RecoveryLate,
    UserRestart,
    FileChanged,
    ParameterSet,
    /// The section's thread is not scheduled for a callback.
    SectionLate,
}

const FAULTS: [Fault; 14] = [
    Fault::DieBefore,
    Fault::DieWithin,
    Fault::DieAfter,
    Fault::Hang,
    Fault::Stop,
    Fault::Late,
    Fault::SlowFor,
    Fault::Lie,
    Fault::Tear,
    Fault::Fail,
    Fault::NotFinite,
    Fault::TooLoud,
    Fault::OnTheEdge,
    Fault::Hasty,
];

const BLOWS: [Blow; 9] = [
    Blow::StandbyDies,
    Blow::HostFrozen,
    Blow::Suspended,
    Blow::Paused,
    Blow::RecoveryLate,
    Blow::UserRestart,
    Blow::FileChanged,
    Blow::ParameterSet,
    Blow::SectionLate,
];

/// What is simulated under one seed.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) format: Format,
    pub(super) shape: Shape,
    /// For each plugin: whether it has faults. The first has, unless it is one of a row.
    pub(super) faulty: Vec<bool>,
    pub(super) burst: u32,
    pub(super) lost: Lost,
    pub(super) closed: bool,
    pub(super) own_latency: u32,
    pub(super) standby: Standby,
    pub(super) restart: bool,
    pub(super) keeps_state: bool,
    /// Callbacks with faults.
    pub(super) callbacks: u64,
    /// Faults that there are, and one of them in so many blocks.
    pub(super) faults: Vec<Fault>,
    pub(super) fault_in: u64,
    pub(super) blows: Vec<Blow>,
    pub(super) blow_in: u64,
    /// One start in so many goes wrong.
    pub(super) bad_start_in: u64,
}

impl Shape {
    pub(super) fn is_row(self) -> bool {
        matches!(self, Self::Row { .. } | Self::RowInSection)
    }

    pub(super) fn is_section(self) -> bool {
        matches!(self, Self::Section | Self::RowInSection)
    }

    pub(super) fn adapts(self) -> bool {
        matches!(self, Self::SameBlock { adapt: true } | Self::Row { adapt: true })
    }
}

fn faulty(rng: &mut Rng, shape: Shape) -> Vec<bool> {
    if !shape.is_row() {
        return vec![true, false];
    }
    let mut faulty: Vec<bool> = (0..rng.within(2, 6)).map(|_| rng.once_in(3)).collect();
    let one = usize::try_from(rng.within(0, faulty.len() as u64)).unwrap();
    faulty[one] = true;
    faulty
}

impl Plot {
    /// Numbers of the plugins that have faults.
    pub(super) fn faulty(&self) -> Vec<usize> {
        (0..self.faulty.len()).filter(|plugin| self.faulty[*plugin]).collect()
    }

    pub(super) fn of(rng: &mut Rng) -> Self {
        let (frames, rate) =
            rng.one_of(&[(32, 48_000), (64, 8_000), (64, 8_000), (128, 48_000), (128, 16_000)]);
        let shape = rng.one_of(&[
            Shape::SameBlock { adapt: true },
            Shape::SameBlock { adapt: true },
            Shape::SameBlock { adapt: false },
            Shape::Pipelined,
            Shape::Section,
            Shape::Row { adapt: false },
            Shape::Row { adapt: false },
            Shape::Row { adapt: true },
            Shape::RowInSection,
            Shape::RowInSection,
        ]);
        let faulty = faulty(rng, shape);
        let burst = u32::try_from(rng.one_of(&[1, 1, 2, 3, 4])).unwrap();
        let keep = |rng: &mut Rng| rng.next() | rng.next();
        let (faults, blows) = (keep(rng), keep(rng));
        Self {
            format: Format::new(2, frames, rate).unwrap(),
            shape,
            faulty,
            burst,
            lost: rng.one_of(&[Lost::Bypass, Lost::Bypass, Lost::Mute, Lost::Hold]),
            closed: rng.once_in(4),
            own_latency: u32::try_from(rng.one_of(&[0, 0, 1, 33, 300])).unwrap(),
            standby: rng.one_of(&[Standby::None, Standby::Spare, Standby::Twin, Standby::Twin]),
            restart: !rng.once_in(12),
            keeps_state: rng.once_in(2),
            callbacks: rng.within(500, 1500) / u64::from(burst),
            faults: (0..).zip(FAULTS).filter(|(bit, _)| faults >> bit & 1 == 1).map(|(_, it)| it).collect(),
            fault_in: rng.one_of(&[10, 30, 60, 200]),
            blows: (0..).zip(BLOWS).filter(|(bit, _)| blows >> bit & 1 == 1).map(|(_, it)| it).collect(),
            blow_in: rng.one_of(&[15, 40, 100]),
            bad_start_in: rng.one_of(&[3, 8, 1_000_000]),
        }
    }
}
