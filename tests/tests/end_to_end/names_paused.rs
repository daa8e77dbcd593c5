//! The names of a paused pair at a PowerDNS: each says meanwhile what its spec wants, as questions from
//! outside see it, and the epoch keeps out who wrote before.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use continuum_chaos::lab::Error;
use continuum_chaos::{Lab, LabNames, LabOptions};
use continuum_control_api::rest::{
    ApplyPair, PairView, PausePairRequest, ResumePairRequest, Started,
};
use continuum_dns::NameError;
use continuum_dns::lookup::{ResponseCode, query_a};
use continuum_dns::provider::publish::publish;
use continuum_dns::records::{Records, Wanted};
use continuum_domain::Epoch;
use continuum_domain::name_spec::WhilePaused;
use continuum_domain::operation::OperationState;
use continuum_domain::spec::NameSpec;
use continuum_tests::*;

use crate::names_elsewhere::writer;
use crate::pair_pause::{asked, ended};

/// Longest time of one question.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a name may take to change.
const LIMIT: Duration = Duration::from_secs(30);
/// Where somebody would say that the pair is paused.
const TOLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 98));

/// Three names of the pair that differ in what they say while it is paused: keep, nodata, answer.
async fn three_names(lab: &Lab) -> Result<[NameSpec; 3], Error> {
    let mut spec = lab.pair().await?.spec;
    let kept = spec.names.first().expect("the lab's pair has a name").clone();
    let zone = kept.zone.clone().expect("a zone");
    let gone = NameSpec {
        name: format!("gone.{zone}"),
        while_paused: WhilePaused::Nodata,
        ..kept.clone()
    };
    let told = NameSpec {
        name: format!("told.{zone}"),
        while_paused: WhilePaused::Answer,
        paused_addresses: [TOLD].into(),
        ..kept.clone()
    };
    let names = [kept, gone, told];
    spec.names = names.to_vec();
    let body = ApplyPair { spec, reason: "three names".into() };
    lab.api().apply_pair(&body).await.map_err(asked)?;
    Ok(names)
}

/// Waits until each name has this answer, by a question from outside: NOERROR, and these addresses.
async fn until_all_say(
    lab: &Lab,
    what: &str,
    names: &[NameSpec; 3],
    due: [&[IpAddr]; 3],
) -> Result<(), Error> {
    let server = lab.layout.name_server();
    lab.until(what, LIMIT, async || {
        for (name, due) in names.iter().zip(due) {
            let answer = query_a(server, &name.name, DEADLINE).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.rcode != ResponseCode::NoError || answer.addresses != due {
                return Err(format!("{}: {answer:?}", name.name));
            }
        }
        Ok(())
    })
    .await
}

/// Whoever still wants what an earlier epoch wanted writes nothing: what it is told is the newer one.
async fn is_fenced(lab: &Lab, view: &PairView, name: &NameSpec, late: Epoch) {
    let wanted = Wanted {
        name: format!("{}.", name.name),
        pair: view.spec.id.clone(),
        epoch: late,
        holder: fsn(),
        records: Records::plain(1, BTreeSet::from([TOLD])),
    };
    let refused = publish(&writer(lab, view, &fsn()), &wanted).await;
    assert_eq!(refused, Err(NameError::Refused { newest: epoch(view) }), "{}", name.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_at_powerdns_say_while_the_pair_is_paused_what_their_spec_wants() -> Outcome {
    let lab = Lab::start(LabOptions { names: LabNames::PowerDns, ..quick() }).await?;
    let before = epoch(&lab.wait_healthy(WHOLE_LIMIT).await?);
    let names = three_names(&lab).await?;
    let (first, other) = ([lab.address(&fsn())?], [lab.address(&hel())?]);
    until_all_say(&lab, "the names to lead to the holder", &names, [&first; 3]).await?;

    let pair = lab.pair().await?.spec.id;
    let started = lab.api().pause_pair(&pair, &PausePairRequest::default()).await.map_err(asked)?;
    let paused = ended(&lab, started).await?;
    assert_eq!(paused.state, OperationState::Done, "{paused:?}");
    until_all_say(&lab, "the names to say it", &names, [&first, &[], &[TOLD]]).await?;
    let rests = lab.pair().await?;
    assert_eq!((&rests.holder, &rests.resting), (&None, &Some(fsn())));
    assert!(epoch(&rests) > before);
    for name in &names[1..] {
        is_fenced(&lab, &rests, name, before).await;
    }
    until_all_say(&lab, "nothing to have changed", &names, [&first, &[], &[TOLD]]).await?;

    // Another region resumes it: what the first one wrote at rest is of an older epoch from now on.
    let body = ResumePairRequest { to: Some(hel()), ..ResumePairRequest::default() };
    let started: Started = lab.api().resume_pair(&pair, &body).await.map_err(asked)?;
    let resumed = ended(&lab, started).await?;
    assert_eq!(resumed.state, OperationState::Done, "{resumed:?}");
    until_all_say(&lab, "the names to lead to the holder again", &names, [&other; 3]).await?;
    let view = lab.pair().await?;
    assert_eq!(view.holder, Some(hel()));
    for name in &names {
        is_fenced(&lab, &view, name, epoch(&rests)).await;
    }
    until_all_say(&lab, "the names to stay", &names, [&other; 3]).await?;
    lab.stop().await
}
