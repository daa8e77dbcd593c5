//! Access and approvals as replicated state: deterministic, bounded in time, and read by any version.

use continuum_control::raft::Machine;
use continuum_control::state::{
    AccessChange, ApprovalChange, Change, Command, CoreState, Kept, Reply, SecretHash, TokenOrder,
};
use continuum_control_api::approvals::{Approval, ApprovalState};
use continuum_domain::access::{Caller, Grant, Selector, Tier};

const HOUR_MS: i64 = 3_600_000;

fn apply(state: &mut CoreState, at_ms: i64, actor: &str, change: Change) -> Reply {
    state.apply(1, Command::new(at_ms, actor, change))
}

fn code(reply: &Reply) -> &str {
    match reply {
        Reply::Refused(error) => &error.problem.code,
        other => panic!("{other}"),
    }
}

fn kept(caller: &Caller) -> Kept {
    let view = Approval {
        id: "apr-a".parse().unwrap(),
        pair: None,
        method: "PUT".into(),
        path: "/automation/pause".into(),
        body: "{}".into(),
        requester: caller.to_string(),
        person: caller.person.clone(),
        rule: "careful".parse().unwrap(),
        approver: Tier::Operator,
        created_ms: 0,
        expires_ms: 0,
        state: ApprovalState::Waiting,
    };
    Kept { view, caller: caller.clone(), conditions: Vec::new() }
}

fn approve(person: &str) -> Change {
    let (id, person) = ("apr-a".parse().unwrap(), person.to_owned());
    Change::Approval(ApprovalChange::Approve { id, person, reason: String::new() })
}

fn finish() -> Change {
    let id = "apr-a".parse().unwrap();
    Change::Approval(ApprovalChange::Finish { id, status: 200, code: None, operation: None })
}

fn filled() -> CoreState {
    let mut state = CoreState::default();
    let ann = Caller::user("ann", Vec::new(), 0);
    let grant = Grant {
        name: "dba".parse().unwrap(),
        subjects: vec!["group:dba".parse().unwrap()],
        tier: Tier::Admin,
        selector: "env-type=prod".parse().unwrap(),
        break_glass: true,
    };
    let token = TokenOrder {
        id: "t1".parse().unwrap(),
        hash: SecretHash("00".into()),
        name: "ci".parse().unwrap(),
        tier: Tier::Viewer,
        selector: Selector::default(),
        person: "user/ann".into(),
        for_ms: 1_000,
        reason: "test".into(),
    };
    let glass = AccessChange::BreakGlass { reason: "INC-1".into(), for_ms: 1_000 };
    for change in [
        Change::Access(AccessChange::SetGrant { grant, reason: "test".into() }),
        Change::Access(AccessChange::CreateToken(token)),
        Change::Access(glass),
        Change::Approval(ApprovalChange::Keep(Box::new(kept(&ann)))),
    ] {
        let reply = apply(&mut state, 1_000, "user/ann", change);
        assert!(!matches!(reply, Reply::Refused(_)), "{reply}");
    }
    state
}

#[test]
fn a_snapshot_reads_back_and_one_of_an_older_version_too() {
    let state = filled();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<CoreState>(&text).unwrap(), state);
    let empty = serde_json::to_value(CoreState::default()).unwrap();
    assert!(empty.get("access").is_none() && empty.get("approvals").is_none());
    assert_eq!(serde_json::from_value::<CoreState>(empty).unwrap(), CoreState::default());
    // A hash is nobody's business.
    let told = format!("{:?}", state.access());
    assert!(told.contains("SecretHash") && !told.contains("\"00\""), "{told}");
}

#[test]
fn everything_ends_by_itself() {
    let state = filled();
    let access = state.access();
    assert!(access.token("t1", 1_999).is_some() && access.token("t1", 2_000).is_none());
    assert!(access.glass_of("user/ann", 1_999).is_some());
    assert!(access.glass_of("user/ann", 2_000).is_none());
    let ann = |until_ms| Caller::user("ann", vec!["dba".into()], until_ms);
    let tier = |caller: &Caller, now_ms| {
        access
            .power(caller, None, now_ms)
            .map(|power| power.holdings().iter().map(|held| held.0).max())
    };
    assert_eq!(tier(&ann(9_000), 1_999), Ok(Some(Tier::Owner)), "by broken glass");
    assert_eq!(tier(&ann(9_000), 2_000), Ok(Some(Tier::Admin)));
    assert!(tier(&ann(1_500), 1_500).is_err(), "the provider's word is over");
    assert!(tier(&Caller::token("t1", "ci", "user/ann"), 2_000).is_err());
    // Taking the grant away mends the glass.
    let mut state = state;
    let name = "dba".parse().unwrap();
    let change = Change::Access(AccessChange::RemoveGrant { name, reason: String::new() });
    apply(&mut state, 1_500, "operator/bob", change);
    let power = state.access().power(&ann(9_000), None, 1_600).unwrap();
    assert_eq!(power.holdings(), &[]);
}

#[test]
fn a_request_is_approved_by_another_person_in_time_and_finished_once() {
    let state = filled();
    let mut late = state.clone();
    let over = apply(&mut late, 1_000 + HOUR_MS, "user/bob", approve("user/bob"));
    assert_eq!(code(&over), "approval-settled");
    let mut state = state;
    // Her token, and she herself.
    for actor in ["token/ci", "user/ann"] {
        assert_eq!(code(&apply(&mut state, 2_000, actor, approve("user/ann"))), "same-person");
    }
    apply(&mut state, 2_000, "operator/bob", finish());
    let view =
        |state: &CoreState| state.approvals().kept(&"apr-a".parse().unwrap()).unwrap().view.clone();
    assert_eq!(view(&state).state, ApprovalState::Waiting, "nobody approved it yet");
    for _ in 0..2 {
        // The second time finishes what a crash left after the first.
        let reply = apply(&mut state, 2_000, "operator/bob", approve("operator/bob"));
        let Reply::Approval(approval) = reply else { panic!("{reply}") };
        assert!(matches!(approval.state, ApprovalState::Approved { .. }), "{approval:?}");
    }
    apply(&mut state, 2_000, "operator/bob", finish());
    let ended = state.clone();
    apply(&mut state, 2_000, "operator/bob", finish());
    assert_eq!(state, ended);
    assert!(matches!(view(&state).state, ApprovalState::Done { status: 200, .. }));
    assert_eq!(
        code(&apply(&mut state, 2_000, "user/eve", approve("user/eve"))),
        "approval-settled"
    );
    assert!(state.verify_audit().intact);
}
