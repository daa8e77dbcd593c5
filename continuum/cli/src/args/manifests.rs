//! `pair render`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValue;
use continuum_cnpg_pair::kubernetes::render::Plan;

/// What is rendered, and how.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// A CnpgPair and its Continuum, YAML or JSON; or the spec of a pair
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,
    /// Only this region's manifests
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// How large the Clusters are; wins over the file
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<PlanChoice>,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Hold what is rendered against the definitions (CRDs) in this folder
    #[arg(long, value_name = "FOLDER")]
    pub crds: Option<PathBuf>,
}

/// A plan, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanChoice(pub Plan);

impl clap::ValueEnum for PlanChoice {
    fn value_variants<'a>() -> &'a [Self] {
        const CHOICES: [PlanChoice; 4] = [
            PlanChoice(Plan::Hobbyist),
            PlanChoice(Plan::Starter),
            PlanChoice(Plan::Standard),
            PlanChoice(Plan::Premium),
        ];
        &CHOICES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.label()))
    }
}
