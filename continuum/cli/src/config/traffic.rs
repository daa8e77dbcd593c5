//! The `[[traffic]]` sections of an agent.

use continuum_agent::config::AgentConfig;

use super::loader::Checks;

/// Checks the sections, and that each is of a pair that the agent runs.
pub fn check(config: &AgentConfig, checks: &mut Checks<'_>) {
    for (index, switch) in config.traffic.iter().enumerate() {
        let key = |field: &str| format!("traffic.{index}.{field}");
        for (field, problem) in switch.problems() {
            checks.fail(&key(&field), problem);
        }
        for (field, file) in switch.files() {
            checks.readable(&key(field), file);
        }
        if !config.runs(switch.pair()) {
            let problem = format!("pair {} is not one that this agent runs", switch.pair());
            checks.fail(&key("pair"), problem);
        }
    }
    let names = config.traffic.iter().map(|switch| switch.name().to_owned());
    checks.distinct("name", names, |index| format!("traffic.{index}.name"));
    let files = config.traffic.iter().enumerate();
    let files = files.filter_map(|(at, switch)| Some((at, switch.databases_file()?)));
    let files: Vec<_> = files.map(|(at, file)| (at, file.display().to_string())).collect();
    let key = |index: usize| format!("traffic.{}.databases_file", files[index].0);
    checks.distinct("file", files.iter().map(|(_, file)| file), key);
}
