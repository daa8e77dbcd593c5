//! The section `[traces]` of a control node and of an agent.

use continuum_runtime::traces::TracesConfig;

use super::loader::Checks;

/// Checks it, where there is one.
pub fn check(traces: Option<&TracesConfig>, checks: &mut Checks<'_>) {
    let Some(traces) = traces else { return };
    for (key, problem) in traces.problems() {
        checks.fail(&format!("traces.{key}"), problem);
    }
    if let Some(file) = &traces.authority {
        checks.absolute("traces.authority", file);
        checks.readable("traces.authority", file);
    }
}
