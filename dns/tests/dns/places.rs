//! What an agent's file says, on real servers: names at PowerDNS and BIND by one provider, LUA records by
//! the API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::pdm::{Pdm, TOKENS};
use crate::authority::powerdns::{KEY, PowerDns, ZONE};
use crate::authority::route53::{KEY_IDS, Route53, ZONE_ID};
use crate::authority::{KEYS, TIMEOUT};
use continuum_dns::provider::config::ProviderConfig;
use continuum_dns::provider::places::{OpenProvider, Places, Takes};
use continuum_dns::provider::publish::{FollowedName, RecordNames};
use continuum_dns::records::due::due;
use continuum_dns::records::{Records, Served, Wanted};
use continuum_dns::verify::{Resolved, Verdict, resolved, shown, verify};
use continuum_dns::{NameChange, NameError};
use continuum_domain::spec::{NamePolicy, NameSpec};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;

const NAME: &str = "app.db.example";

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn pair() -> PairId {
    PairId::new("app").unwrap()
}

fn name() -> NameSpec {
    let address = |last| [IpAddr::from([192, 0, 2, last])].into();
    let addresses = [(region("fsn"), address(1)), (region("hel"), address(2))].into();
    NameSpec::at_provider(NAME, Duration::from_secs(5), ("x", "db.example"), addresses)
}

fn write_key(directory: &Path, (name, secret): (&str, &str)) -> String {
    let file = directory.join(format!("{name}.key"));
    let text = format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn opened(toml: &str) -> OpenProvider {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    config.check().unwrap();
    config.check_key().unwrap();
    OpenProvider::open(&config, Arc::new(BootClock)).unwrap()
}

/// What `holder` wants at the name, and the result of publishing it at every place.
async fn publish(
    provider: &OpenProvider,
    name: &NameSpec,
    (epoch, holder): (u64, &str),
) -> (Wanted, BTreeMap<String, Result<(), NameError>>) {
    let records = due(&pair(), name, &region(holder), &BTreeSet::new()).unwrap();
    let change = NameChange {
        pair: pair(),
        name: NAME.into(),
        epoch: Epoch(epoch),
        holder: region(holder),
        ttl: name.ttl,
    };
    let mut told = BTreeMap::new();
    let mut wanted = None;
    for place in provider.in_zone("DB.example").unwrap() {
        let names = RecordNames::new(place.records, BTreeMap::new());
        let records = [(region(holder), records.clone())].into();
        names.follow(NAME, FollowedName { pair: pair(), records });
        wanted = Some(names.wanted(&change).unwrap());
        told.insert(place.label, names.publish_told(&change).await.map(drop));
    }
    (wanted.unwrap(), told)
}

#[tokio::test]
async fn one_provider_keeps_a_name_at_powerdns_and_bind_with_the_key_of_a_region() {
    let (powerdns, bind) = (PowerDns::start().await, Bind::start().await);
    let directory = tempfile::tempdir().unwrap();
    let of = |key: &str| {
        opened(&format!(
            "name = \"both\"\nkind = \"rfc2136\"\nservers = [\"{}\", \"{}\"]\nkey_file = {key:?}\n",
            powerdns.dns, bind.dns
        ))
    };
    let [fsn, hel] = KEYS.map(|key| of(&write_key(directory.path(), key)));
    assert_eq!(fsn.authorities(), [powerdns.dns, bind.dns]);
    assert_eq!(fsn.takes(), Takes::default());
    let (old, told) = publish(&fsn, &name(), (1, "fsn")).await;
    let labels = [powerdns.dns, bind.dns].map(|server| format!("both at {server}"));
    assert_eq!(told, labels.clone().map(|label| (label, Ok(()))).into());
    let (new, _) = publish(&hel, &name(), (2, "hel")).await;
    let (_, late) = publish(&fsn, &name(), (1, "fsn")).await;
    let refused = Err(NameError::Refused { newest: Epoch(2) });
    assert_eq!(late, labels.map(|label| (label, refused.clone())).into());
    for server in [powerdns.dns, bind.dns] {
        let verdicts = verify(&[server], ZONE, &new, TIMEOUT).await;
        assert_eq!(verdicts[&server], Verdict::Serves);
        assert_eq!(resolved(server, &new, TIMEOUT).await, Resolved::Serves { validated: false });
        let differs = Resolved::Differs(Served {
            addresses: ["192.0.2.2".parse().unwrap()].into(),
            ..Served::default()
        });
        assert_eq!(resolved(server, &old, TIMEOUT).await, differs);
        let stands = shown(server, &new.name, TIMEOUT).await.unwrap();
        assert_eq!(stands.records, [("A 192.0.2.2".to_owned(), 5)].into());
        assert_eq!(stands.companion, [(new.stamp().to_string(), 5)].into());
        let lame = shown(server, "app.other.example.", TIMEOUT).await.unwrap_err();
        assert!(matches!(lame, Verdict::Lame(_)), "{lame:?}");
    }
}

/// A file that names Route 53 and a pool-domain-manager: the same name at both, by what the file says.
#[tokio::test]
async fn one_file_names_route_53_and_a_pool_domain_manager() {
    #[derive(serde::Deserialize)]
    struct File {
        name_provider: Vec<ProviderConfig>,
    }
    let (aws, pdm) = (Route53::start().await, Pdm::start().await);
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("aws.keys");
    let text = format!("aws_access_key_id = {}\naws_secret_access_key = s\n", KEY_IDS[0]);
    std::fs::write(&keys, text).unwrap();
    let token = directory.path().join("pdm.token");
    std::fs::write(&token, format!("{}\n", TOKENS[0])).unwrap();
    let text = format!(
        r#"
        [[name_provider]]
        name = "aws"
        kind = "route53"
        zones = {{ "DB.example" = "{ZONE_ID}" }}
        key_file = {keys:?}
        endpoint = "{}"

        [[name_provider]]
        name = "pool"
        kind = "pdm"
        api = "{}"
        key_file = {token:?}
        authorities = ["192.0.2.53"]
        "#,
        aws.url(),
        pdm.url(),
    );
    let file: File = toml::from_str(&text).unwrap();
    let opened = file.name_provider.iter().map(|config| {
        config.check().unwrap();
        config.check_key().unwrap();
        OpenProvider::open(config, Arc::new(BootClock)).unwrap()
    });
    let [route53, pool]: [OpenProvider; 2] = opened.collect::<Vec<_>>().try_into().ok().unwrap();
    assert_eq!(route53.takes(), Takes { lua: false, routing: true });
    assert_eq!(pool.takes(), Takes::default());
    assert_eq!(route53.authorities(), [], "the stand-in answers no DNS, and nobody else is asked");
    assert_eq!(pool.authorities(), ["192.0.2.53:53".parse().unwrap()]);
    for (provider, label) in
        [(&route53, format!("aws at {ZONE_ID}")), (&pool, format!("pool at {}", pdm.url()))]
    {
        let (_, told) = publish(provider, &name(), (1, "fsn")).await;
        assert_eq!(told, [(label.clone(), Ok(()))].into());
        let (_, told) = publish(provider, &name(), (2, "hel")).await;
        assert_eq!(told, [(label.clone(), Ok(()))].into());
        let (_, late) = publish(provider, &name(), (1, "fsn")).await;
        assert_eq!(late, [(label, Err(NameError::Refused { newest: Epoch(2) }))].into());
    }
    let at_aws = aws.zone().at("app.db.example.");
    assert_eq!(at_aws[0].values, ["192.0.2.2".to_owned()].into());
    assert_eq!(pdm.zone().at("app.db.example.").records[0].content, "192.0.2.2");
    let elsewhere = route53.in_zone("other.example").unwrap_err();
    assert!(elsewhere.to_string().contains("does not say which hosted zone other.example. is"));
}

/// A key that the server does not know is refused, and the refusal says what to look at.
#[tokio::test]
async fn a_key_that_was_taken_away_writes_nothing() {
    let bind = Bind::start().await;
    let directory = tempfile::tempdir().unwrap();
    let key = write_key(directory.path(), ("ash", KEYS[0].1));
    let text = format!(
        "name = \"b\"\nkind = \"rfc2136\"\nservers = [\"{}\"]\nkey_file = {key:?}\n",
        bind.dns
    );
    let (wanted, told) = publish(&opened(&text), &name(), (1, "fsn")).await;
    let error = told.into_values().next().unwrap().unwrap_err();
    assert!(matches!(error, NameError::Unauthorised(_)), "{error:?}");
    assert!(error.to_string().contains("check the TSIG key"), "{error}");
    let verdicts = verify(&[bind.dns], ZONE, &wanted, TIMEOUT).await;
    assert_eq!(verdicts[&bind.dns], Verdict::NoSuchName);
}

#[tokio::test]
async fn a_name_that_is_followed_by_probes_is_kept_by_the_api_and_served() {
    let server = PowerDns::start().await;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("api.key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let provider = opened(&format!(
        "name = \"api\"\nkind = \"powerdns\"\napi = \"{}\"\nserver = \"{}\"\nkey_file = {key:?}\n",
        server.api_url(),
        server.dns
    ));
    assert_eq!(provider.takes(), Takes { lua: true, routing: false });
    let (policy, health_port) = (NamePolicy::Follow, NonZeroU16::new(1));
    let followed = NameSpec { policy, health_port, ..name() };
    let (wanted, told) = publish(&provider, &followed, (1, "fsn")).await;
    assert!(told.values().all(Result::is_ok), "{told:?}");
    assert!(!wanted.records.lua.is_empty());
    let verdicts = verify(&[server.dns], ZONE, &wanted, TIMEOUT).await;
    assert_eq!(verdicts[&server.dns], Verdict::Serves);
    // The same name by addresses: what is written replaces what computed.
    let (plain, told) = publish(&provider, &name(), (1, "fsn")).await;
    assert!(told.values().all(Result::is_ok), "{told:?}");
    assert_eq!(plain.records, Records::plain(5, ["192.0.2.1".parse().unwrap()].into()));
    let verdicts = verify(&[server.dns], ZONE, &plain, TIMEOUT).await;
    assert_eq!(verdicts[&server.dns], Verdict::Serves);
}
