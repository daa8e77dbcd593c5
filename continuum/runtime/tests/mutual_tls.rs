//! Mutual TLS: both ends know who the other is, and strangers are refused.

use std::sync::Arc;

use continuum_runtime::certificates::Authority;
use continuum_runtime::identity::{Identity, Role};
use continuum_runtime::net::{Network, TlsFiles, TlsNetwork, trusting};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// Dials without a certificate and waits for a byte; the server must prove its name.
async fn without_certificate(files: &TlsFiles, address: &str, server: &Identity) -> bool {
    let config = trusting(Some(&files.authority), &[]).expect("an authority");
    let name = ServerName::try_from(server.dns_name()).expect("a name");
    let tcp = TcpStream::connect(address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // The refusal comes with the first read: the client's half of the handshake is over before.
    let Ok(mut stream) = connector.connect(name, tcp).await else { return false };
    stream.read_exact(&mut [0]).await.is_ok()
}

#[tokio::test]
async fn only_an_open_listener_takes_a_caller_without_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(directory.path()).unwrap();
    let core = Identity::new(Role::Core, "c1");
    let files = authority.issue(&core).unwrap();
    let server = TlsNetwork::load(&files).unwrap();
    let mut strict = server.listen("127.0.0.1:0").await.unwrap();
    assert!(!without_certificate(&files, &strict.local.to_string(), &core).await);
    assert!(strict.incoming.try_recv().is_err(), "let in without a certificate");

    let mut open = server.listen_open("127.0.0.1:0").await.unwrap();
    let address = open.local.to_string();
    let answered = async {
        let mut accepted = open.incoming.recv().await.unwrap();
        accepted.io.write_all(b"x").await.unwrap();
        accepted.identity
    };
    let (identity, heard) = tokio::join!(answered, without_certificate(&files, &address, &core));
    assert_eq!((identity, heard), (None, true));
    let alice = Identity::new(Role::Operator, "alice");
    let client = network(&authority, &alice);
    let _stream = client.connect(&address, &core).await.unwrap();
    assert_eq!(open.incoming.recv().await.unwrap().identity, Some(alice));

    // A certificate that is shown must be good.
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::create(elsewhere.path()).unwrap();
    let theirs = stranger.issue(&Identity::new(Role::Operator, "mallory")).unwrap();
    let posing = TlsFiles { authority: files.authority.clone(), ..theirs };
    if let Ok(mut stream) = TlsNetwork::load(&posing).unwrap().connect(&address, &core).await {
        assert!(stream.read_exact(&mut [0]).await.is_err());
    }
    assert!(open.incoming.try_recv().is_err(), "a stranger was let in");
}
