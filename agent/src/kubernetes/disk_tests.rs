use continuum_runtime::disk;
use continuum_test_kube::{ApiServer, Effect, Options};

use super::*;

async fn server() -> ApiServer {
    ApiServer::start(Options::default()).await.unwrap()
}

fn state(server: &ApiServer) -> ClusterDisk {
    ClusterDisk::new(&Cluster::with(server.config("agent"), "default").unwrap(), "state")
}

#[test]
fn only_the_unanswered_write_of_ones_own_may_have_changed_an_entry() {
    let of = |content: &str| Entries::from([("a".to_owned(), content.as_bytes().to_vec())]);
    let (old, new) = (of("old"), of("new"));
    let own = |content: &str| Some(("a".to_owned(), Some(content.as_bytes().to_vec())));
    assert_eq!(changed(&old, &old, own("new").as_ref()), None);
    assert_eq!(changed(&old, &new, own("new").as_ref()), None);
    assert_eq!(changed(&old, &new, own("newer").as_ref()), Some(&"a".to_owned()));
    assert_eq!(changed(&old, &new, None), Some(&"a".to_owned()));
    assert_eq!(changed(&old, &Entries::new(), None), Some(&"a".to_owned()));
    assert_eq!(changed(&old, &Entries::new(), Some(&("a".to_owned(), None))), None);
    assert_eq!(changed(&Entries::new(), &old, None), Some(&"a".to_owned()));
}

#[tokio::test]
async fn what_was_written_is_there_for_the_next_agent() {
    let server = server().await;
    let disk = state(&server);
    assert_eq!(disk.read("promise-app.json").await.unwrap(), None);
    assert_eq!(disk.remove("x").await.unwrap_err().kind(), io::ErrorKind::NotFound);
    disk::write_json(&disk, "promise-app.json", &7).await.unwrap();
    disk.replace("journal.json", b"j".to_vec()).await.unwrap();
    disk.replace("journal.json", b"k".to_vec()).await.unwrap();
    let next = state(&server);
    assert_eq!(next.list().await.unwrap(), ["journal.json", "promise-app.json"]);
    assert_eq!(disk::read_json::<u64>(&next, "promise-app.json").await.unwrap(), Some(7));
    next.remove("promise-app.json").await.unwrap();
    assert_eq!(state(&server).read("promise-app.json").await.unwrap(), None);
    let large = next.replace("journal.json", vec![0; BYTES_MAX + 1]).await.unwrap_err();
    assert_eq!(large.kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(next.read("journal.json").await.unwrap().unwrap(), b"k");
}

#[tokio::test]
async fn a_write_without_an_answer_is_an_error_and_not_somebody_elses() {
    let mut server = server().await;
    let disk = state(&server);
    disk.replace("a", b"1".to_vec()).await.unwrap();
    let writes = |call: &continuum_test_kube::Call| call.verb == "update";
    // It took effect and nobody heard: an error, so that nothing is told on the strength of it.
    server.control().disturb(Effect::LoseReply, Some(1), writes);
    assert!(disk.replace("a", b"2".to_vec()).await.is_err());
    assert_eq!(disk.read("a").await.unwrap().unwrap(), b"2");
    disk.replace("a", b"3".to_vec()).await.unwrap();
    // It was lost before it took effect.
    server.control().disturb(Effect::Drop, Some(1), writes);
    assert!(disk.replace("a", b"4".to_vec()).await.is_err());
    assert_eq!(disk.read("a").await.unwrap().unwrap(), b"3");
    server.down().await;
    assert!(disk.replace("a", b"5".to_vec()).await.is_err());
    server.up().await.unwrap();
    disk.replace("a", b"6".to_vec()).await.unwrap();
    assert_eq!(state(&server).read("a").await.unwrap().unwrap(), b"6");
}

#[tokio::test]
async fn another_agents_entries_are_never_written_over() {
    let server = server().await;
    let (disk, other) = (state(&server), state(&server));
    disk.replace("a", b"1".to_vec()).await.unwrap();
    // Somebody labels the object: no matter.
    let maps: Api<ConfigMap> = Api::namespaced(server.client().unwrap(), "default");
    let label = serde_json::json!({ "metadata": { "labels": { "by": "hand" } } });
    maps.patch("state", &Default::default(), &kube::api::Patch::Merge(label)).await.unwrap();
    disk.replace("a", b"2".to_vec()).await.unwrap();
    assert_eq!(
        server.peek("configmaps", "default", "state").unwrap()["metadata"]["labels"]["by"],
        "hand"
    );
    // Another agent writes its promise: this one keeps no state any more.
    other.replace("promise-app.json", b"theirs".to_vec()).await.unwrap();
    let refused = disk.replace("promise-app.json", b"ours".to_vec()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(
        disk.replace("a", b"3".to_vec()).await.unwrap_err().kind(),
        io::ErrorKind::ResourceBusy
    );
    assert_eq!(other.read("promise-app.json").await.unwrap().unwrap(), b"theirs");
}
