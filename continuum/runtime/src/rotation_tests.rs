//! Over real connections: files are replaced under servers and clients that go on.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::Authority;
use crate::identity::{Identity, Role};
use crate::net::{Accepted, Listening, Network, TlsFiles, TlsNetwork};

fn server() -> Identity {
    Identity::new(Role::Core, "c1")
}

/// Connects, and sends a letter there and back.
async fn talk(client: &TlsNetwork, listening: &mut Listening) -> std::io::Result<Accepted> {
    let address = listening.local.to_string();
    let here = async {
        let mut io = client.connect(&address, &server()).await?;
        io.write_all(b"x").await?;
        // A client learns with its first read that it was refused.
        io.read_exact(&mut [0]).await?;
        Ok(())
    };
    let there = async {
        let mut accepted = listening.incoming.recv().await.expect("the listener lives");
        accepted.io.read_exact(&mut [0]).await?;
        accepted.io.write_all(b"y").await?;
        accepted.io.flush().await?;
        Ok(accepted)
    };
    tokio::pin!(here, there);
    tokio::select! {
        // Refused by either: the other side waits for nobody.
        result = &mut here => { let result: std::io::Result<()> = result; result?; there.await }
        accepted = &mut there => { here.await?; accepted }
    }
}

fn files(authority: &Authority, identity: &Identity) -> TlsFiles {
    authority.issue(identity).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[tokio::test]
async fn replaced_certificates_are_used_by_the_next_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    let (old, new) = (Authority::create(&old).unwrap(), Authority::create(&new).unwrap());
    let (theirs, ours) = (files(&old, &server()), files(&old, &Identity::new(Role::Region, "fsn")));
    let serving = TlsNetwork::load(&theirs).unwrap();
    let calling = TlsNetwork::load(&ours).unwrap();
    let mut listening = serving.listen("127.0.0.1:0").await.unwrap();
    let mut first = talk(&calling, &mut listening).await.unwrap();
    assert_eq!(first.identity, Some(Identity::new(Role::Region, "fsn")));

    // The server's files become those of another authority, one after the other.
    let (their_new, our_new) =
        (files(&new, &server()), files(&new, &Identity::new(Role::Region, "fsn")));
    copy(&their_new.certificate, &theirs.certificate);
    talk(&calling, &mut listening).await.expect("a certificate without its key changes nothing");
    copy(&their_new.key, &theirs.key);
    let refused = talk(&calling, &mut listening).await;
    assert!(refused.is_err(), "the client does not know the new authority");
    // Both are trusted for as long as the change takes, on both sides.
    let both = [&ours.authority, &our_new.authority]
        .map(|path| std::fs::read_to_string(path).unwrap())
        .concat();
    // Both sides named the same file: the old authority's.
    std::fs::write(&ours.authority, both).unwrap();
    talk(&calling, &mut listening).await.expect("both authorities are trusted");
    copy(&our_new.certificate, &ours.certificate);
    copy(&our_new.key, &ours.key);
    talk(&calling, &mut listening).await.expect("the client's own is new too");
    copy(&our_new.authority, &ours.authority);
    talk(&calling, &mut listening).await.expect("the old authority is not needed any more");

    // Who still comes with one of the old authority is refused from now on.
    let late = TlsFiles {
        authority: our_new.authority.clone(),
        ..files(&old, &Identity::new(Role::Region, "late"))
    };
    let late = TlsNetwork::load(&late).unwrap();
    assert!(talk(&late, &mut listening).await.is_err());
    // The connection that was opened first lives on.
    first.io.write_all(b"z").await.expect("an open connection is left alone");
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(directory.path()).unwrap();
    let theirs = files(&authority, &server());
    let serving = TlsNetwork::load(&theirs).unwrap();
    let calling = TlsNetwork::load(&files(&authority, &Identity::new(Role::Core, "c2"))).unwrap();
    let mut listening = serving.listen("127.0.0.1:0").await.unwrap();
    for path in [&theirs.key, &theirs.certificate, &theirs.authority] {
        let kept = std::fs::read(path).unwrap();
        std::fs::write(path, "torn").unwrap();
        talk(&calling, &mut listening).await.expect("the ones from before are used");
        std::fs::remove_file(path).unwrap();
        talk(&calling, &mut listening).await.expect("also where a file is gone");
        std::fs::write(path, kept).unwrap();
        talk(&calling, &mut listening).await.unwrap();
    }
    assert!(serving.certificates_end_ms().is_some());
}
