//! The services that the contract suites of `dns` run against, for a whole lab: they answer no DNS, so
//! what stands at them is what their clients would be told.

#[path = "../../../../dns/tests/dns/authority/calls.rs"]
pub mod calls;
#[path = "../../../../dns/tests/dns/authority/pdm.rs"]
pub mod pdm;
#[path = "../../../../dns/tests/dns/authority/route53.rs"]
pub mod route53;
