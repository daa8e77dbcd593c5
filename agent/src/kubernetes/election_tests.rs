use std::sync::Arc;

use continuum_runtime::{BootClock, Clock as _};
use continuum_test_kube::{ApiServer, Effect, Options};

use super::*;

const PACE: Pace = Pace {
    duration: Duration::from_millis(1500),
    renew: Duration::from_millis(200),
    look: Duration::from_millis(50),
};

fn replica(server: &ApiServer, user: &str) -> Election {
    let cluster = Cluster::with(server.config(user), "default").unwrap();
    Election::new(&cluster, "agent", "hel", Arc::new(BootClock)).paced(PACE)
}

fn holder(server: &ApiServer) -> Option<String> {
    let lease = server.peek("leases.coordination.k8s.io", "default", "agent")?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let end = tokio::time::timeout(Duration::from_secs(20), work).await;
    end.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Whether the work is still not done after a while in which it would be, were it to be done.
async fn not_yet<T>(work: impl Future<Output = T>) -> bool {
    tokio::time::timeout(PACE.duration * 2, work).await.is_err()
}

#[tokio::test]
async fn one_of_two_acts_and_the_other_follows_when_it_is_killed_or_gives_up() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let (first, second) = (replica(&server, "one"), replica(&server, "two"));
    let mut acting = soon("the first", first.win()).await;
    assert_eq!(holder(&server).as_deref(), Some(first.me()));
    // While it renews, nobody else acts, however long they wait.
    let waits = not_yet(second.win());
    let renews = not_yet(acting.keep());
    let (waits, renews) = tokio::join!(waits, renews);
    assert!(waits && renews);
    // Killed: the second waits for a whole duration of its own clock.
    drop(acting);
    let since = BootClock.now();
    let mut acting = soon("the second", second.win()).await;
    assert!(BootClock.now().since(since) >= PACE.duration);
    assert_eq!(holder(&server).as_deref(), Some(second.me()));
    // Gives its turn back: the first need not wait.
    assert!(not_yet(acting.keep()).await);
    acting.release().await;
    assert_eq!(holder(&server), None);
    soon("the first again", first.win()).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_ends_no_turn_and_who_was_replaced_meanwhile_stops() {
    let mut server = ApiServer::start(Options::default()).await.unwrap();
    let (first, second) = (replica(&server, "one"), replica(&server, "two"));
    let mut acting = soon("the first", first.win()).await;
    // Nobody reaches it: the first goes on, and the second cannot take over.
    server.down().await;
    let (goes_on, waits) = tokio::join!(not_yet(acting.keep()), not_yet(second.win()));
    assert!(goes_on && waits);
    server.up().await.unwrap();
    assert!(not_yet(acting.keep()).await);
    assert_eq!(holder(&server).as_deref(), Some(first.me()));
    // Only the first is cut off: the second takes over, and the first hears of it when it is back.
    let cut = server.control().disturb(Effect::Drop, None, |call| call.user == "one");
    let (goes_on, taken) = tokio::join!(not_yet(acting.keep()), soon("the second", second.win()));
    assert!(goes_on);
    server.control().relent(cut);
    assert_eq!(soon("its end", acting.keep()).await, second.me());
    drop(taken);
}

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_and_a_label_by_hand_are_no_other_holder() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let first = replica(&server, "one");
    let mut acting = soon("the first", first.win()).await;
    server.control().disturb(Effect::LoseReply, Some(2), |call| call.verb == "update");
    server.control().disturb(Effect::Answer(409), Some(1), |call| call.verb == "update");
    assert!(not_yet(acting.keep()).await);
    let admin: Api<Lease> = Api::namespaced(server.client().unwrap(), "default");
    admin.delete("agent", &Default::default()).await.unwrap();
    assert!(not_yet(acting.keep()).await);
    assert_eq!(holder(&server).as_deref(), Some(first.me()));
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_record_is_taken_only_after_it_stood_still_for_a_whole_duration() {
    let of =
        |holder: &str, version: u64| Record { holder: holder.into(), version: version.to_string() };
    let mut patience = Patience::default();
    let mut look = |record: Record, seconds: u64| {
        patience.look("me", &record, Tick(seconds * SECOND), Duration::from_secs(15))
    };
    assert_eq!(look(of("other", 1), 100), Turn::Wait);
    assert_eq!(look(of("other", 1), 114), Turn::Wait);
    // Renewed: the whole duration begins anew.
    assert_eq!(look(of("other", 2), 115), Turn::Wait);
    assert_eq!(look(of("other", 2), 129), Turn::Wait);
    assert_eq!(look(of("other", 2), 130), Turn::Take);
    // Another holder, and one that gave its turn back.
    assert_eq!(look(of("third", 3), 131), Turn::Wait);
    assert_eq!(look(of("", 4), 132), Turn::Take);
}
