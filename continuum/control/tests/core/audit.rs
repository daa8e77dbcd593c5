//! The audit archive of running nodes: where records come from, what is found when they are touched,
//! what is exported.

use std::path::PathBuf;

use continuum_control::archive::file;
use continuum_control_api::client::ClientError;
use continuum_control_api::rest::{
    AuditQuery, AuditVerdict, ExportFormat, ExportQuery, PauseRequest, VerifyQuery,
};

use crate::support::{Cluster, eventually, shop};

const FIRST_SEGMENT: &str = "audit-00000000000000000001.jsonl";

async fn pause(cluster: &Cluster, nodes: &[&str], reason: &str) {
    let client = cluster.client_of(nodes, &cluster.operator);
    let body = PauseRequest { pair: Some(shop()), reason: reason.into(), for_ms: 3_600_000 };
    eventually("the pause", || async {
        match client.pause(&body).await {
            Ok(pause) => Some(pause),
            Err(ClientError::Problem { problem, .. }) if problem.retryable => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

async fn verify(cluster: &Cluster, node: &str) -> AuditVerdict {
    let client = cluster.client_of(&[node], &cluster.operator);
    client.verify_audit(&VerifyQuery::default()).await.unwrap()
}

/// A node's verdict once its archive holds everything.
async fn archived(cluster: &Cluster, node: &str) -> AuditVerdict {
    eventually("everything archived", || async {
        let verdict = verify(cluster, node).await;
        let head = verdict.archive.as_ref()?.head.clone();
        (verdict.intact && head.is_some() && head == verdict.head).then_some(verdict)
    })
    .await
}

async fn with_records(cluster: &Cluster) {
    cluster.apply_spec().await;
    for number in 0..6 {
        pause(cluster, &["c1", "c2", "c3"], &format!("reason {number}")).await;
    }
}

async fn export(cluster: &Cluster, node: &str, query: &ExportQuery) -> Result<String, ClientError> {
    let client = cluster.client_of(&[node], &cluster.operator);
    let mut text = Vec::new();
    client
        .export_audit(query, |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })
        .await?;
    Ok(String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_edited_byte_on_a_disk_is_found_there_and_its_record_named() {
    let cluster = Cluster::start().await;
    with_records(&cluster).await;
    for node in ["c1", "c2", "c3"] {
        let verdict = archived(&cluster, node).await;
        assert_eq!(verdict.node.as_deref(), Some(node));
    }
    let path: PathBuf = cluster.archive("c2").join(FIRST_SEGMENT);
    let honest = std::fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = honest.split_inclusive(|byte| *byte == b'\n').collect();
    let starts: Vec<usize> =
        (0..lines.len()).map(|n| lines[..n].iter().map(|line| line.len()).sum()).collect();
    // In the content, in the name of the one before, in the own hash, and the end of the line.
    for (number, line) in lines.iter().enumerate().skip(1).step_by(2) {
        let places = [3, line.len() / 2, line.len() - 100, line.len() - 10, line.len() - 1];
        for place in places {
            let mut edited = honest.clone();
            edited[starts[number] + place] ^= 1;
            std::fs::write(&path, &edited).unwrap();
            let verdict = verify(&cluster, "c2").await;
            assert!(!verdict.intact);
            assert_eq!(verdict.wrong, Some(number as u64 + 1), "byte {place}: {verdict:?}");
            let problem = verdict.problem.unwrap();
            assert!(problem.contains(&format!("record {}", number + 1)), "{problem}");
        }
    }
    assert!(verify(&cluster, "c1").await.intact, "only the disk that was touched is not");
    std::fs::write(&path, &honest).unwrap();
    assert!(verify(&cluster, "c2").await.intact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_any_node_can_be_verified_without_one() {
    let cluster = Cluster::start().await;
    with_records(&cluster).await;
    let leader = cluster.leader().await;
    let follower = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).unwrap();
    let head = archived(&cluster, follower).await.head.unwrap();
    let text = export(&cluster, follower, &ExportQuery::default()).await.unwrap();
    let found = file::verify(text.as_bytes()).unwrap();
    assert!(found.verdict.intact, "{found:?}");
    assert_eq!((found.verdict.first, found.verdict.head), (Some(1), Some(head)));
    let edited = text.replacen("reason 3", "reason 4", 1);
    assert!(!file::verify(edited.as_bytes()).unwrap().verdict.intact);

    let table = ExportQuery {
        format: ExportFormat::Csv,
        action: Some("automation.pause".into()),
        ..ExportQuery::default()
    };
    let text = export(&cluster, follower, &table).await.unwrap();
    assert_eq!(text.lines().count(), 7, "a line of names and six pauses: {text}");

    let hashed = ExportQuery { hash_personal: true, ..ExportQuery::default() };
    let Err(ClientError::Problem { status, problem }) = export(&cluster, follower, &hashed).await
    else {
        panic!("an export with pseudonyms needs a key")
    };
    assert_eq!((status, problem.code.as_str()), (409, "no-personal-key"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_says_from_where_it_was_asked_for_whichever_node_was_asked() {
    let cluster = Cluster::start().await;
    cluster.apply_spec().await;
    for node in ["c1", "c2", "c3"] {
        pause(&cluster, &[node], node).await;
    }
    let query = AuditQuery { pair: Some(shop()), after: None, limit: Some(1_000) };
    let records = cluster.client().audit(&query).await.unwrap();
    for node in ["c1", "c2", "c3"] {
        let record = records.iter().find(|record| record.reason == node).expect(node);
        let origin = record.origin.as_ref().expect(node);
        let address = origin.address.as_deref().expect(node);
        assert!(address.starts_with("127.0.0.1:"), "{node}: {address}");
        assert!(
            cluster.peers.iter().all(|peer| peer.address != address),
            "{node}: the caller's address, not a node's"
        );
        assert_eq!(origin.request.as_ref().map(String::len), Some(16), "{node}");
    }
    let verdict = verify(&cluster, "c1").await;
    assert!(verdict.intact, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_cannot_be_used_stops_nothing_and_is_told_of() {
    let cluster = Cluster::start().await;
    with_records(&cluster).await;
    archived(&cluster, "c3").await;
    cluster.stop("c3").await;
    let manifest = cluster.archive("c3").join("manifest.json");
    std::fs::write(&manifest, "{torn").unwrap();
    cluster.restart("c3").await;
    cluster.leader().await;
    // Nothing is known of its archive: that is not intact, and operations go on through this node.
    pause(&cluster, &["c3"], "while its archive is broken").await;
    let verdict = verify(&cluster, "c3").await;
    assert!(!verdict.intact && verdict.archive.is_none(), "{verdict:?}");
    assert!(verdict.problem.unwrap().contains("manifest.json"));
    // It is tried again, and has what it missed.
    std::fs::remove_file(&manifest).unwrap();
    let verdict = archived(&cluster, "c3").await;
    assert!(verdict.archive.unwrap().missing.is_empty());
}
