//! The suite on a real API server: `make test-kube`, which builds one where there is none, or any
//! that `KUBECONFIG` names. Nothing in here knows which server it is.

use std::panic::AssertUnwindSafe;

use continuum_test_kube::Real;
use futures_util::FutureExt as _;

use crate::subject::Subject;
use crate::suite::CASES;

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn a_real_server_keeps_the_suite() {
    let real = Real::find().await.unwrap();
    let only = std::env::var("CONTINUUM_KUBE_CASE").ok();
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for (name, case) in CASES.iter().filter(|(name, _)| only.as_ref().is_none_or(|is| is == name)) {
        // Of this run alone: a server of somebody's may have seen another.
        let place = format!("{name}-{}", std::process::id());
        let subject = Subject::new(real.client.clone(), &place).await;
        println!("case {name}");
        if AssertUnwindSafe(case(&subject)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
        subject.clean().await;
        skipped.append(&mut subject.skipped.lock().unwrap());
    }
    println!("{} cases, skipped in part: {skipped:#?}", CASES.len());
    assert_eq!(failed, Vec::<&str>::new());
}
