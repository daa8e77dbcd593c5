//! What an object wants about foreign writes reaches the data plane, and what that saw its status.

use continuum_cnpg_pair::kubernetes::foreign::ForeignPolicy;
use continuum_cnpg_pair::kubernetes::plane::RoleBoard;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_of_an_object_counts_for_as_long_as_it_is_there() {
    let (core, mut site) = (ScriptedCore::default(), Site::start().await);
    let desk = RoleDesk::new(&RegionId::new("hel").unwrap(), &Pairs::default(), &clock());
    desk.add(&app(), Arc::new(RoleBoard::default()));
    site.roles = Some(desk.clone());
    site.run(&core, "hel");
    let mut wanted = object("app");
    wanted.spec.foreign_writes = Some(ForeignPolicy::Restore);
    site.create(&wanted).await;
    let told = |status: &ContinuumStatus| condition(status, "ForeignWrite");
    let unknown = (ConditionStatus::Unknown, "NotCompared".to_owned());
    site.until("it is told of", |status| told(status) == unknown).await;
    assert_eq!(desk.guidance(&app()).policy, ForeignPolicy::Restore);
    site.patch(json!({ "spec": { "foreignWrites": "follow" } })).await;
    let policy = async |wanted| {
        eventually("the policy", async || (desk.guidance(&app()).policy == wanted).then_some(()))
            .await;
    };
    policy(ForeignPolicy::Follow).await;
    site.api.delete("app", &DeleteParams::default()).await.unwrap();
    policy(ForeignPolicy::Report).await;
}
