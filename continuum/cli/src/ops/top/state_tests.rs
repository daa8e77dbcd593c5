use continuum_control_api::rest::{PairPosture, Posture};

use super::*;
use crate::failure::Exit;
use crate::render::fixtures;

fn press(state: &mut State, code: KeyCode) -> Next {
    state.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn fleet() -> Fleet {
    let pair = |name: &str| PairPosture {
        pair: PairId::new(name).unwrap(),
        posture: Posture::Protected,
        reasons: Vec::new(),
        holder: None,
        epoch: None,
        labels: Default::default(),
    };
    Fleet { counts: [(Posture::Protected, 2)].into(), pairs: vec![pair("blog"), pair("shop")] }
}

fn silent() -> Result<Data, Failure> {
    Err(Failure::new(Exit::Unknown, "no control node answered"))
}

#[test]
fn one_goes_down_to_an_operation_and_back() {
    let mut state = State::new(Place::Fleet);
    state.arrived(&Place::Fleet, Ok(Data::Fleet(fleet())), 0);
    assert_eq!(press(&mut state, KeyCode::Down), Next::Stay);
    press(&mut state, KeyCode::Down);
    let view = state.view(0);
    assert!(view.lines[view.chosen.unwrap()].starts_with("shop"), "{view:?}");
    assert_eq!(press(&mut state, KeyCode::Enter), Next::Ask);
    let shop = Place::Pair(PairId::new("shop").unwrap());
    assert_eq!(state.place(), &shop);
    let mut pair = fixtures::pair();
    pair.operation = Some(fixtures::running().id);
    state.arrived(&shop, Ok(Data::Pair(Box::new(pair))), 0);
    assert_eq!(press(&mut state, KeyCode::Enter), Next::Ask);
    assert_eq!(state.place(), &Place::Operation(fixtures::running().id));
    assert_eq!(press(&mut state, KeyCode::Esc), Next::Ask);
    press(&mut state, KeyCode::Esc);
    assert_eq!(press(&mut state, KeyCode::Esc), Next::Stay);
    assert_eq!(state.place(), &Place::Fleet);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Next::Stop);
}

#[test]
fn what_is_old_stays_and_is_said_to_be_old() {
    let mut state = State::new(Place::Fleet);
    state.arrived(&Place::Fleet, silent(), 0);
    let view = state.view(0);
    assert!(view.is_old && view.lines.is_empty() && view.head.contains("not known"), "{view:?}");
    state.arrived(&Place::Fleet, Ok(Data::Fleet(fleet())), 1_000);
    let view = state.view(1_500);
    assert!(!view.is_old && view.head.contains("0.5 s old"), "{view:?}");
    state.arrived(&Place::Fleet, silent(), 4_000);
    let view = state.view(9_000);
    assert!(view.is_old && view.head.contains("8.0 s OLD: no control node answered"), "{view:?}");
    assert!(view.lines.iter().any(|line| line.starts_with("shop")));
    state.arrived(&Place::Fleet, Ok(Data::Fleet(fleet())), 10_000);
    assert!(!state.view(10_000).is_old && state.view(26_000).is_old);
}

#[test]
fn an_answer_that_comes_late_is_not_shown_elsewhere() {
    let mut state = State::new(Place::Pair(PairId::new("shop").unwrap()));
    state.arrived(&Place::Fleet, Ok(Data::Fleet(fleet())), 0);
    assert!(state.view(0).lines.is_empty());
    // What was shown before is gone at once: it would be taken for what is asked for.
    let mut state = State::new(Place::Fleet);
    state.arrived(&Place::Fleet, Ok(Data::Fleet(fleet())), 0);
    press(&mut state, KeyCode::Enter);
    assert!(state.view(0).lines.is_empty() && state.view(0).head.contains("asking"));
}
