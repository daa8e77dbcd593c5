//! A repository that moves a primary by itself, where the pair wants that to be followed.

use continuum_control_api::rest::{AuditQuery, OperationsQuery};
use continuum_domain::RegionId;
use continuum_domain::access::Tier;
use continuum_domain::operation::{Operation, OperationKind, OperationState};
use continuum_test_kube::Misbehaviour;
use continuum_tests::*;
use serde_json::{Value, json};

use super::field::Field;

/// What the pair's object asks for: nothing that is not so, but that foreign writes are followed.
fn wanted(field: &Field) -> Value {
    let member = |region: &RegionId| {
        let host = field.lab.address(region).unwrap().to_string();
        json!({ "name": region, "host": host, "port": field.lab.layout.postgres_port })
    };
    json!({
        "primaryRegion": fsn(),
        "hotStandbyRegions": [hel()],
        "regions": [member(&fsn()), member(&hel())],
        "foreignWrites": "follow",
    })
}

async fn operations(field: &Field) -> Result<Vec<Operation>, String> {
    let query = OperationsQuery { pair: Some(field.lab.layout.pair()), ..Default::default() };
    field.lab.api().operations(&query).await.map_err(|error| error.to_string())
}

/// The role of the holder's Cluster is written as if the other one were the primary. It is put back before the
/// operator acts on it, and the pair moves there by a switchover of the core, which loses nothing; who wrote
/// it is in the audit chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_a_repository_moves_is_moved_by_the_core() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    // It may move pairs, and change none: what the object says else is refused.
    field.grant(&fsn(), Tier::Operator).await;
    field.region(&fsn()).want("app", wanted(&field)).await;
    field
        .lab
        .until("the policy to be known", WHOLE_LIMIT, async || {
            let says = field.region(&fsn()).says("app", "ForeignWrite").await;
            if says.as_deref() == Some("NoneSeen") { Ok(()) } else { Err(format!("{says:?}")) }
        })
        .await?;
    assert_eq!(operations(&field).await.unwrap().len(), 0);
    let before = field.lab.wait_healthy(WHOLE_LIMIT).await?;

    // An operator that is quicker than the agent stops the primary: then the lease decides.
    field.region(&fsn()).misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let began = field.lab.clock.now();
    let moved_away =
        json!({ "spec": { "replica": { "primary": "app-hel", "source": "app-hel" } } });
    field.region(&fsn()).patch(moved_away).await;
    let accepted = field
        .lab
        .until("the core to move the pair", WHOLE_LIMIT, async || {
            let found = operations(&field).await?.pop();
            found.ok_or_else(|| "no operation".to_owned())
        })
        .await?;
    field.region(&fsn()).misbehave(Misbehaviour::default());
    let kind = &accepted.kind;
    assert!(matches!(kind, OperationKind::Switchover { to, .. } if *to == hel()), "{kind:?}");
    assert_eq!(accepted.actor, "region/fsn");
    let ended = field.lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
    assert_eq!(ended.state, OperationState::Done, "{ended:#?}");
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    assert_eq!(view.holder, Some(hel()));
    assert!(view.epoch > before.epoch);
    assert_eq!(operations(&field).await.unwrap().len(), 1, "it is asked for once");
    is_audited(&field).await?;

    undisturbed().await;
    let step = moved(&field.lab, began, &fsn(), &hel())?;
    judge(&mut field.lab, "followed", &[step], None).await?;
    field.lab.stop().await
}

async fn is_audited(field: &Field) -> Outcome {
    let (pair, limit) = (Some(field.lab.layout.pair()), Some(1_000));
    let query = AuditQuery { pair, limit, ..Default::default() };
    let records = field.lab.api().audit(&query).await.map_err(crate::pair_pause::asked)?;
    let written: Vec<_> = records
        .iter()
        .filter(|record| record.after.starts_with("foreign-write: "))
        .map(|record| (record.actor.as_str(), record.after.as_str()))
        .collect();
    let [(actor, text)] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!(*actor, "region/fsn");
    for part in [
        "gitops wrote the role",
        "spec.replica.primary is app-hel, was app-fsn",
        "the core is asked to move the pair",
    ] {
        assert!(text.contains(part), "{text}");
    }
    Ok(())
}
