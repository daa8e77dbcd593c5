//! The `[at_rest]` section of an agent.

use continuum_agent::config::AgentConfig;
use continuum_domain::PairId;

use super::loader::Checks;

/// Checks the section, and that each part is about pairs that the agent runs.
pub fn check(config: &AgentConfig, checks: &mut Checks<'_>) {
    let unknown = |pair: &PairId| !config.runs(pair);
    let problem = |pair: &PairId| format!("pair {pair} is not one that this agent runs");
    for (index, hibernate) in config.at_rest.hibernate.iter().enumerate() {
        let key = |field: &str| format!("at_rest.hibernate.{index}.{field}");
        if unknown(&hibernate.pair) {
            checks.fail(&key("pair"), problem(&hibernate.pair));
        }
        checks.filled(&key("namespace"), &hibernate.namespace);
        checks.filled(&key("cluster"), &hibernate.cluster);
        if let Some(file) = &hibernate.kubeconfig {
            checks.readable(&key("kubeconfig"), file);
        }
    }
    let pairs = config.at_rest.hibernate.iter().map(|hibernate| hibernate.pair.to_string());
    checks.distinct("pair", pairs, |index| format!("at_rest.hibernate.{index}.pair"));
    for (index, pool) in config.at_rest.node_pool.iter().enumerate() {
        let key = |field: &str| format!("at_rest.node_pool.{index}.{field}");
        for (field, problem) in pool.problems() {
            checks.fail(&key(field), problem);
        }
        for (field, file) in pool.files() {
            checks.readable(&key(field), file);
        }
        for pair in pool.pairs().iter().filter(|pair| unknown(pair)) {
            checks.fail(&key("pairs"), problem(pair));
        }
    }
    let names = config.at_rest.node_pool.iter().map(|pool| pool.name().to_owned());
    checks.distinct("name", names, |index| format!("at_rest.node_pool.{index}.name"));
}
