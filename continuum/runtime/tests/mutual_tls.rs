//! Mutual TLS: both ends know who the other is, and strangers are refused.

use continuum_runtime::certificates::Authority;
use continuum_runtime::identity::{Identity, Role};
use continuum_runtime::net::{Network, TlsNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn network(authority: &Authority, identity: &Identity) -> TlsNetwork {
    let files = authority.issue(identity).expect("certificate issued");
    TlsNetwork::load(&files).expect("certificates load")
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(directory.path()).unwrap();
    let witness = Identity::new(Role::Witness, "w1");
    let agent = Identity::new(Role::Region, "fsn");
    let mut listening = network(&authority, &witness).listen("127.0.0.1:0").await.unwrap();
    let address = listening.local.to_string();
    let client = network(&authority, &agent);

    let mut stream = client.connect(&address, &witness).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut accepted = listening.incoming.recv().await.unwrap();
    assert_eq!(accepted.identity, Some(agent));
    let mut byte = [0];
    accepted.io.read_exact(&mut byte).await.unwrap();

    let impostor = Identity::new(Role::Witness, "w2");
    assert!(client.connect(&address, &impostor).await.is_err(), "wrong server name passed");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::create(ours.path()).unwrap();
    let stranger = Authority::create(theirs.path()).unwrap();
    let witness = Identity::new(Role::Witness, "w1");
    let mut listening = network(&authority, &witness).listen("127.0.0.1:0").await.unwrap();
    let address = listening.local.to_string();
    let client = network(&stranger, &Identity::new(Role::Region, "fsn"));
    assert!(client.connect(&address, &witness).await.is_err());
    assert!(listening.incoming.try_recv().is_err(), "a stranger was let in");
}
