//! What manifests are rendered from: a `CnpgPair` and its `Continuum` in one file, or the spec of a
//! pair.

use std::path::{Path, PathBuf};

use continuum_cnpg_pair::kubernetes::crd::{CnpgPair, Continuum, convert, definitions};
use continuum_cnpg_pair::kubernetes::render::pair_of;
use continuum_cnpg_pair::kubernetes::schema::Definitions;
use continuum_domain::spec::{Durability, SpecError};
use serde::Deserialize as _;
use serde_json::Value;

use super::loader::read;
use super::{Issue, pair};

/// What to render.
#[derive(Debug)]
pub struct Source {
    /// The two Clusters.
    pub pair: CnpgPair,
    /// What a commit must survive.
    pub durability: Durability,
}

/// Reads and checks a file. What has a `kind` is read as Kubernetes would, everything else as the spec
/// of a pair. `namespace` is for objects that name none.
pub fn load(file: &Path, namespace: &str) -> Result<Source, Vec<Issue>> {
    let ending = file.extension().and_then(|ending| ending.to_str());
    let documents = match ending {
        Some("yaml" | "yml" | "json") => documents(file)?,
        _ => Vec::new(),
    };
    if documents.iter().all(|document| document.get("kind").is_none()) {
        let spec = pair::load(file)?;
        let pair = pair_of(&spec, namespace).map_err(|error| issues(file, "", vec![error]))?;
        return Ok(Source { pair, durability: spec.durability });
    }
    let (pairs, continuums) = sorted(file, documents)?;
    let [mut pair] = <[CnpgPair; 1]>::try_from(pairs)
        .map_err(|found| whole(file, format!("has {} CnpgPair; one is needed", found.len())))?;
    pair.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    let durability = match continuums.as_slice() {
        [] => Durability::default(),
        [continuum] => durability(file, continuum, &pair)?,
        more => return Err(whole(file, format!("has {} Continuum; one at most", more.len()))),
    };
    Ok(Source { pair, durability })
}

fn durability(
    file: &Path,
    continuum: &Continuum,
    pair: &CnpgPair,
) -> Result<Durability, Vec<Issue>> {
    let named = continuum.spec.cnpg_pair.as_ref().map(|reference| reference.name.as_str());
    if named.is_some() && named != pair.metadata.name.as_deref() {
        let problem = "is not the CnpgPair of this file".into();
        let error = SpecError { path: "spec.cnpgPair.name".into(), problem };
        return Err(issues(file, "Continuum: ", vec![error]));
    }
    convert::to_pair_spec(continuum, Some(&pair.spec))
        .map(|spec| spec.durability)
        .map_err(|errors| issues(file, "Continuum: ", errors))
}

type Sorted = (Vec<CnpgPair>, Vec<Continuum>);

fn sorted(file: &Path, documents: Vec<Value>) -> Result<Sorted, Vec<Issue>> {
    let mut known = Definitions::default();
    definitions().iter().for_each(|(_, definition)| known.add(definition));
    let (mut pairs, mut continuums, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        let kind = document["kind"].as_str().unwrap_or("an object without a kind").to_owned();
        let Some(problems) = known.problems(&document) else {
            let version = document["apiVersion"].as_str().unwrap_or("no apiVersion");
            found.extend(whole(
                file,
                format!("{kind} of {version}: only CnpgPair and Continuum of dr.openova.io/v1"),
            ));
            continue;
        };
        if !problems.is_empty() {
            let errors = problems
                .into_iter()
                .map(|one| SpecError { path: one.path, problem: one.problem })
                .collect();
            found.extend(issues(file, &format!("{kind}: "), errors));
            continue;
        }
        let read = match kind.as_str() {
            "CnpgPair" => serde_json::from_value(document).map(|pair| pairs.push(pair)),
            _ => serde_json::from_value(document).map(|one| continuums.push(one)),
        };
        if let Err(error) = read {
            found.extend(whole(file, format!("{kind}: {error}")));
        }
    }
    if found.is_empty() { Ok((pairs, continuums)) } else { Err(found) }
}

/// The documents of a YAML stream, of which JSON is a case.
fn documents(file: &Path) -> Result<Vec<Value>, Vec<Issue>> {
    let text = read(file).map_err(|issue| vec![issue])?;
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).map_err(|error| {
            let line = error.location().map(|location| location.line());
            vec![Issue { line, ..issue(file, "", error.to_string()) }]
        })?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// The definitions in a folder, as a cluster has them.
pub fn published(folder: &Path) -> Result<Definitions, Vec<Issue>> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| whole(folder, format!("cannot be read: {error}")))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut published = Definitions::default();
    let wanted = |ending: &str| matches!(ending, "yaml" | "yml" | "json");
    for file in files {
        if file.extension().and_then(|ending| ending.to_str()).is_some_and(wanted) {
            documents(&file)?.iter().for_each(|document| published.add(document));
        }
    }
    if published.is_empty() {
        return Err(whole(folder, "has no CustomResourceDefinition".into()));
    }
    Ok(published)
}

/// Errors of objects, as errors of the file they came from.
pub fn issues(file: &Path, prefix: &str, errors: Vec<SpecError>) -> Vec<Issue> {
    let one = |error: SpecError| issue(file, &format!("{prefix}{}", error.path), error.problem);
    errors.into_iter().map(one).collect()
}

fn whole(file: &Path, problem: String) -> Vec<Issue> {
    vec![issue(file, "", problem)]
}

fn issue(file: &Path, key: &str, problem: String) -> Issue {
    Issue { file: file.to_owned(), line: None, variable: None, key: key.to_owned(), problem }
}
