//! What may happen, and how often.

use proptest::prelude::*;

/// What the world may do between two looks of the runner.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The runner looks and acts; it crashes after so many effects, losing its memory.
    Look {
        crash_after: Option<u8>,
    },
    /// It measures, the holder's agent moves on, then it acts on what it measured.
    StaleLook,
    /// A directive in flight arrives, and may arrive again.
    Directive {
        index: u8,
        again: bool,
    },
    LoseDirective {
        index: u8,
    },
    /// A fact in flight is journalled, and may come again.
    Fact {
        index: u8,
        again: bool,
    },
    LoseFact {
        index: u8,
    },
    HolderStep,
    HolderGivesUp,
    HolderReturns,
    HolderReleases,
    /// Hot: the target stopped receiving and sends its write, which lands whenever it does.
    TargetSends,
    /// Hot: by its own deadline, or because it may not. What it sent may still land.
    TargetGivesUp,
    TargetAcquires,
    TargetPromotes,
    TargetFails,
    TargetRelapses,
    ThirdTakesOver,
    OldHolderRejoins,
    /// The register is lost and an old copy of it put back.
    RegisterRestored,
    Readable(bool),
    Reports(bool),
    Preflight(bool),
    Cancel,
    Advance(u32),
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => prop::option::weighted(0.3, 0..4u8).prop_map(|crash_after| Event::Look { crash_after }),
        2 => Just(Event::StaleLook),
        5 => (any::<u8>(), any::<bool>()).prop_map(|(index, again)| Event::Directive { index, again }),
        1 => any::<u8>().prop_map(|index| Event::LoseDirective { index }),
        5 => (any::<u8>(), any::<bool>()).prop_map(|(index, again)| Event::Fact { index, again }),
        1 => any::<u8>().prop_map(|index| Event::LoseFact { index }),
        8 => Just(Event::HolderStep),
        1 => Just(Event::HolderGivesUp),
        2 => Just(Event::HolderReturns),
        1 => Just(Event::HolderReleases),
        4 => Just(Event::TargetSends),
        1 => Just(Event::TargetGivesUp),
        4 => Just(Event::TargetAcquires),
        3 => Just(Event::TargetPromotes),
        1 => Just(Event::TargetFails),
        1 => Just(Event::TargetRelapses),
        1 => Just(Event::ThirdTakesOver),
        2 => Just(Event::OldHolderRejoins),
        1 => Just(Event::RegisterRestored),
        1 => any::<bool>().prop_map(Event::Readable),
        1 => any::<bool>().prop_map(Event::Reports),
        1 => any::<bool>().prop_map(Event::Preflight),
        1 => Just(Event::Cancel),
        3 => (0..20_000u32).prop_map(Event::Advance),
    ]
}
