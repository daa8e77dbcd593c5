//! `pair render` and `crd`: both only read files and print.

use continuum_cnpg_pair::kubernetes::crd;
use continuum_cnpg_pair::kubernetes::render::{self, RegionManifests, yaml};
use continuum_cnpg_pair::kubernetes::schema::Definitions;

use crate::args::manifests::RenderArgs;
use crate::config::manifests::{issues, load, published};
use crate::failure::{Exit, Failure};
use crate::render::line;

/// Prints the definitions of the custom resources.
pub fn definitions() -> Result<Exit, Failure> {
    line(&crd::stream()).map(|()| Exit::Done)
}

/// Prints the manifests of a pair.
pub fn manifests(args: &RenderArgs) -> Result<Exit, Failure> {
    let mut source = load(&args.file, &args.namespace)?;
    if let Some(plan) = args.plan {
        source.pair.spec.plan = plan.0;
    }
    let regions = render::render(&source.pair, source.durability)
        .map_err(|errors| issues(&args.file, "CnpgPair: ", errors))?;
    if let Some(folder) = &args.crds {
        fit(&regions, &published(folder)?)?;
    }
    let wanted =
        |region: &&RegionManifests| args.region.as_ref().is_none_or(|name| *name == region.region);
    let chosen: Vec<&RegionManifests> = regions.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = regions.iter().map(|region| region.region.as_str()).collect();
        let region = args.region.as_deref().unwrap_or_default();
        return Err(Failure::usage(format!("{region} is none of {}", names.join(", "))));
    }
    let text: String = chosen
        .iter()
        .map(|region| format!("# region: {}\n{}", region.region, yaml::stream(&region.manifests)))
        .collect();
    line(&text).map(|()| Exit::Done)
}

/// Whether a cluster with these definitions would take the manifests. What is not defined there is
/// said on standard error and not judged.
fn fit(regions: &[RegionManifests], published: &Definitions) -> Result<(), Failure> {
    let mut failure = Failure::new(Exit::Refused, "the definitions refuse what was rendered")
        .meaning("nothing was changed")
        .next("see that the operator's version is one that the documentation names");
    let mut refused = false;
    for (region, manifest) in
        regions.iter().flat_map(|one| one.manifests.iter().map(move |manifest| (one, manifest)))
    {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let name = format!("{} {}", text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
        let Some(problems) = published.problems(manifest) else {
            eprintln!("{}: {name}: not checked, it is not defined there", region.region);
            continue;
        };
        for problem in problems {
            refused = true;
            let what = format!("{}: {name}: {}: {}", region.region, problem.path, problem.problem);
            failure.what.push(what);
        }
    }
    if refused { Err(failure) } else { Ok(()) }
}
