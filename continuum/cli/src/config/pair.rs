//! The spec of a pair as a file: TOML, YAML or JSON.

use std::path::Path;

use continuum_domain::spec::PairSpec;

use super::Issue;
use super::loader::{Checks, Document, Loaded, read};
use super::locate::{Places, steps};

/// Reads and checks a spec. The name's ending decides the format; TOML unless it is `.yaml`,
/// `.yml` or `.json`. A spec is intent, so the environment has no say in it.
pub fn load(file: &Path) -> Result<PairSpec, Vec<Issue>> {
    let ending = file.extension().and_then(|ending| ending.to_str());
    checked(match ending {
        Some("yaml" | "yml") => yaml(file)?,
        Some("json") => return load_json(file),
        _ => Document::read(file, "pair", &[])?.typed::<PairSpec>()?,
    })
}

/// Reads and checks a spec that is JSON whatever its name.
pub fn load_json(file: &Path) -> Result<PairSpec, Vec<Issue>> {
    let text = read(file).map_err(|issue| vec![issue])?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    let typed = serde_path_to_error::deserialize(&mut reader);
    let loaded = located(file, typed, |error| Some(error.line()))?;
    reader.end().map_err(|error| {
        let mut issue = loaded.places.issue(&[], error.to_string());
        issue.line = Some(error.line());
        vec![issue]
    })?;
    checked(loaded)
}

fn yaml(file: &Path) -> Result<Loaded<PairSpec>, Vec<Issue>> {
    let text = read(file).map_err(|issue| vec![issue])?;
    let typed = serde_path_to_error::deserialize(serde_yaml_ng::Deserializer::from_str(&text));
    located(file, typed, |error| error.location().map(|location| location.line()))
}

fn checked(loaded: Loaded<PairSpec>) -> Result<PairSpec, Vec<Issue>> {
    let mut checks = Checks::new(&loaded.places, false);
    if let Err(error) = loaded.value.check() {
        checks.fail(&error.path, error.problem);
    }
    checks.finish()?;
    Ok(loaded.value)
}

/// These formats know the line of an error, but not those of keys that are well.
fn located<E: std::fmt::Display>(
    file: &Path,
    typed: Result<PairSpec, serde_path_to_error::Error<E>>,
    line: impl Fn(&E) -> Option<usize>,
) -> Result<Loaded<PairSpec>, Vec<Issue>> {
    let places = Places::unknown(file);
    typed
        .map_err(|error| {
            let mut issue = places.issue(&steps(error.path()), error.inner().to_string());
            issue.line = line(error.inner());
            vec![issue]
        })
        .map(|value| Loaded { value, places: places.clone() })
}
