//! What client code depends on, one property a case. Every case runs on the server of the tests, and
//! unchanged on a real one: `make test-kube`.

mod applies;
mod details;
mod objects;
mod patches;
pub mod published;
mod schemas;
mod watches;

use continuum_test_kube::{ApiServer, Options};
use futures_util::future::LocalBoxFuture;

use crate::subject::Subject;

/// A named case.
pub type Case = (&'static str, for<'a> fn(&'a Subject) -> LocalBoxFuture<'a, ()>);

macro_rules! cases {
    ($($module:ident: $($case:ident)*;)*) => {
        /// Every case there is.
        pub const CASES: &[Case] = &[
            $($((stringify!($case), |subject| Box::pin($module::$case(subject)))),*),*
        ];

        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::in_memory(stringify!($case), |subject| {
                        Box::pin(super::$module::$case(subject))
                    })
                    .await;
                }
            )*)*
        }
    };
}

cases! {
    objects:
        a_new_object_has_its_identity
        a_name_is_generated
        what_is_taken_or_missing_or_unfit_is_refused
        a_stale_write_conflicts
        a_write_that_changes_nothing_makes_no_version
        a_delete_keeps_its_preconditions
        finalizers_hold_an_object
        a_selector_selects
        a_list_is_read_in_pages_of_one_moment
        a_collection_is_deleted_by_label
        a_dry_run_changes_nothing
        what_is_served_is_told
        a_secret_takes_plain_text;
    patches:
        a_json_patch_counts_as_a_whole
        a_merge_patch_deletes_by_null
        a_strategic_patch_merges_lists_by_key
        a_patch_can_expect_a_version;
    applies:
        an_apply_makes_and_owns
        a_conflict_names_its_owner
        force_takes_a_field
        what_is_no_longer_applied_is_gone
        what_two_own_stays_with_one
        a_plain_write_takes_ownership
        lists_are_applied_by_their_kind
        an_apply_again_makes_no_version
        a_status_is_applied_by_itself
        an_apply_needs_a_manager;
    schemas:
        unknown_fields_are_dropped_and_defaults_filled_in
        unknown_fields_are_refused_where_asked
        a_schema_refuses_by_field
        a_rule_refuses_by_its_message
        a_rule_compares_with_before
        spec_and_status_are_written_apart
        a_definition_must_be_served_as_named
        a_kind_goes_with_its_definition;
    watches:
        a_watch_goes_on_from_a_version
        a_watch_from_nothing_begins_with_all
        what_is_no_longer_selected_is_deleted
        a_watch_ends_in_its_time
        a_version_too_old_is_gone;
    details:
        a_holder_goes_with_its_last_field
        an_apply_does_not_take_what_it_does_not_know
        an_apply_can_be_tried
        a_lease_is_replaced_by_its_version
        a_new_object_has_no_version_of_its_own
        a_missing_object_is_not_patched
        a_name_does_not_change
        the_last_annotation_takes_the_rest_along
        one_object_is_watched_by_its_name
        a_marked_object_takes_no_new_finalizer
        owners_are_told_apart_by_their_uid;
    published:
        published_definitions_take_their_samples;
}

async fn in_memory(name: &str, case: impl for<'a> FnOnce(&'a Subject) -> LocalBoxFuture<'a, ()>) {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let subject = Subject::new(server.client().unwrap(), name).await;
    case(&subject).await;
}
