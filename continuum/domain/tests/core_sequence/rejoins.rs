//! A member is brought back, and what keeps it from that.

use super::*;

#[test]
fn a_member_is_brought_back_in_good_weather() {
    let methods = [RejoinMethod::Retry, RejoinMethod::Clone];
    for (method, synchronous) in methods.into_iter().flat_map(|one| [(one, true), (one, false)]) {
        let mut world = rejoin::Rejoining::new(method);
        world.synchronous = synchronous;
        world.run_out();
        assert_eq!(world.operation.state, OperationState::Done, "{:?}", world.operation);
        assert_eq!(world.cloned, method == RejoinMethod::Clone);
    }
}

/// An agent of an older version takes no notice: the operation ends by its deadline, and says so.
#[test]
fn an_agent_that_does_not_know_the_order_is_waited_for_no_longer_than_a_minute() {
    let mut world = rejoin::Rejoining::new(RejoinMethod::Clone);
    world.old = true;
    for _ in 0..62 {
        world.look();
        world.happen(rejoin::Event::Obey);
        world.now_ms += 1_000;
    }
    let OperationState::Failed { reason } = &world.operation.state else {
        panic!("{:?}", world.operation)
    };
    assert!(reason.contains("older version"), "{reason}");
}

#[test]
fn a_rejoin_called_off_after_its_order_says_that_the_member_goes_on() {
    let mut world = rejoin::Rejoining::new(RejoinMethod::Clone);
    world.look();
    world.happen(rejoin::Event::Obey);
    world.look();
    world.happen(rejoin::Event::Obey);
    world.happen(rejoin::Event::Cancel);
    world.look();
    let OperationState::Failed { reason } = &world.operation.state else {
        panic!("{:?}", world.operation)
    };
    assert!(reason.contains("no longer waited for"), "{reason}");
}
