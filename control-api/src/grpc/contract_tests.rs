//! The contract says what the routes say, and breaks nobody.

use std::path::Path;

use super::{DESCRIPTOR, compatible, contract, pool, rpcs, shape};
use crate::routes::endpoints;

const CURRENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/current.binpb"));
const PUBLISHED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/published.binpb"));
/// Set by `make contract`.
const WRITE: &str = "CONTINUUM_WRITE_CONTRACT";

#[test]
fn the_contract_is_the_table_of_routes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/continuum/api/v1/api.proto");
    let text = contract::text(&pool(DESCRIPTOR));
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &text).expect("the contract can be written");
        return;
    }
    let written = std::fs::read_to_string(&file).expect("the contract");
    assert!(
        text == written,
        "routes or types changed: run `make contract`, and commit the contract"
    );
}

#[test]
fn every_route_has_its_call() {
    let routes = endpoints().iter().filter(|endpoint| shape(endpoint).is_some()).count();
    assert!(routes > 20);
    assert_eq!(rpcs().len(), routes);
}

#[test]
fn nothing_published_is_broken() {
    let found = compatible::breaks(&pool(PUBLISHED), &pool(CURRENT));
    assert!(found.is_empty(), "breaks users of the published contract: {found:#?}");
}
