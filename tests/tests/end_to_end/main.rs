//! All end-to-end tests, linked once: a module for each thing that is broken or moved.

mod agent_lost;
mod core_leader_crash;
mod core_lost;
mod corroboration;
mod divergent_rejoin;
mod haproxy;
mod kubernetes;
mod lab_command;
mod ledger_takeover;
mod member_rejoin;
mod names_elsewhere;
mod names_everywhere;
mod names_paused;
mod pair_pause;
mod planned_switchover;
mod pooler;
mod region_lost;
mod traces;
mod witness_lost;
mod witness_quorum;
