//! Switches that are objects of a Kubernetes cluster, on an API server: the one of the tests, and a real one
//! (`make test-kube`) wherever nothing has to go wrong with the server itself.

mod both;
mod endpoint_slice;
mod everywhere;
mod http_route;
mod pooler;
pub mod server;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use continuum_test_kube::Real;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

/// The first minor version of Kubernetes that serves `discovery.k8s.io/v1`.
const SLICES_SINCE: u32 = 21;

/// A case: the version of Kubernetes that it needs, its name, and what it does.
type Case = (u32, &'static str, fn() -> LocalBoxFuture<'static, ()>);

macro_rules! cases {
    ($($module:ident since $since:tt: $($case:ident)*;)*) => {
        /// Every case that either server keeps.
        const CASES: &[Case] = &[
            $($(($since, stringify!($case), || Box::pin($module::$case()))),*),*
        ];

        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case().await;
                }
            )*)*
        }
    };
}

cases! {
    everywhere since 0:
        of_two_agents_that_race_the_one_with_the_higher_epoch_wins_every_round
        of_two_holders_of_one_epoch_one_wins_every_round
        a_mark_that_was_taken_away_is_put_back_and_an_older_one_counts_for_nothing;
    http_route since 0:
        it_follows_the_highest_epoch_and_holds_nobody_back
        what_a_person_set_comes_back_exactly_whatever_was_reordered_meanwhile
        weights_that_others_write_are_undone_and_counted_and_unknown_backends_left
        weights_move_in_steps_and_end_where_they_belong_also_by_another_agent
        a_route_that_leads_nowhere_for_the_holder_is_left_as_it_is;
    endpoint_slice since SLICES_SINCE:
        it_keeps_the_contract_as_far_as_it_sees
        an_agent_that_was_left_behind_lets_nobody_through
        what_others_write_into_it_is_undone_and_so_is_its_removal
        a_service_that_leads_elsewhere_too_and_an_address_that_is_none_are_refused;
    pooler since 0:
        the_poolers_of_both_regions_keep_the_contract_together
        what_a_person_paused_stays_so_and_what_a_person_resumed_is_paused_again
        it_is_held_when_the_operator_says_so_and_not_before
        a_pooler_of_standbys_is_not_touched;
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn a_real_server_keeps_the_suite_of_switches() {
    let real = Rc::new(Real::find().await.unwrap());
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for (since, name, case) in CASES {
        if real.minor < *since {
            println!("SKIPPED {name}: 1.{} is before 1.{since}", real.minor);
            skipped.push(*name);
            continue;
        }
        println!("case {name}");
        let run = server::REAL.scope(real.clone(), case());
        if AssertUnwindSafe(run).catch_unwind().await.is_err() {
            failed.push(*name);
        }
    }
    println!("{} cases, skipped: {skipped:#?}", CASES.len());
    assert_eq!(failed, Vec::<&str>::new());
}
