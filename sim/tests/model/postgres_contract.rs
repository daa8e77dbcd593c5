//! The data plane's contract suite on the modelled PostgreSQL, under several seeds.

use crate::postgres_bench::World;
use continuum_cnpg_pair::contract;

/// Seeds of each test: the latencies differ, what must hold does not.
const SEEDS: u64 = 20;

macro_rules! contract_test {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                for seed in 0..SEEDS {
                    let world = World::new(seed);
                    world.run(async {
                        let mut bench = world.clone();
                        contract::$name(&mut bench).await;
                    });
                }
            }
        )*
    };
}

contract_test!(
    promotion_needs_an_armed_deadline,
    a_standby_is_promoted_under_a_deadline_alone,
    the_deadline_stops_a_primary,
    older_agents_and_epochs_are_refused,
    a_cloned_standby_streams,
    words_of_a_primary_get_older,
    names_make_commits_wait,
    start_and_promote_only_add_names,
    a_clean_switchover_needs_no_rewind,
    a_diverged_primary_is_rewound,
    a_primary_that_was_just_promoted_is_rewound,
    a_standby_stops_receiving,
    equal_timeline_numbers_are_told_apart,
    a_fork_under_an_equal_number_is_found,
    the_fence_is_durable,
    a_directory_moved_away_is_heard_of,
);
