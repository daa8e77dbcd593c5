//! What each route takes: the tier, and over what it must be held.
//!
//! `docs/SECURITY.md` has the same table, and a test holds every line of it against a running core.

use continuum_domain::access::{Labels, Selector, Tier, Verb};
use continuum_domain::operation::RejoinMethod;
use continuum_domain::{AccessName, ApprovalId, OperationId, PairId};
use serde::de::DeserializeOwned;

use crate::access::TokenBody;
use crate::rest::{
    ApplyPair, ApplyQuery, FailbackRequest, FailoverRequest, PausePairRequest, PauseQuery,
    PauseRequest, RejoinRequest, ResumePairRequest, RollbackRequest, SwitchoverRequest,
};

/// Over what a tier must be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anybody may, known or not.
    Open,
    /// Everybody who is known may: it is about the caller itself.
    Own,
    /// Some pair or other; what is answered is what is in scope.
    AnyPair,
    /// Everything, and what belongs to no pair.
    All,
    /// The pair, as it stands and as it would be.
    Pair,
    /// The pair of the operation.
    Operation,
    /// Everything the token may reach.
    Token,
    /// The pair of the request that is kept.
    Approval,
}

impl Place {
    /// In a few words.
    pub fn label(self) -> &'static str {
        match self {
            Place::Open => "open",
            Place::Own => "own",
            Place::AnyPair => "any pair",
            Place::All => "all",
            Place::Pair => "the pair",
            Place::Operation => "the operation's pair",
            Place::Token => "the token's scope",
            Place::Approval => "the request's pair",
        }
    }
}

/// What a route takes in one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The case; empty for all that are not told of.
    pub when: &'static str,
    /// The least tier.
    pub tier: Tier,
    /// Over what.
    pub place: Place,
}

const fn need(when: &'static str, tier: Tier, place: Place) -> Need {
    Need { when, tier, place }
}

/// The case of a dry run.
const DRY: &str = "dry run";
/// The case of a failover that may lose acknowledged writes.
const LOSS: &str = "allow_data_loss";
/// The case of a pause of all pairs.
const ALL: &str = "all pairs";

const OPEN: &[Need] = &[need("", Tier::Viewer, Place::Open)];
const OWN: &[Need] = &[need("", Tier::Viewer, Place::Own)];
const VIEW_ANY: &[Need] = &[need("", Tier::Viewer, Place::AnyPair)];
const VIEW_PAIR: &[Need] = &[need("", Tier::Viewer, Place::Pair)];
const PAUSE: &[Need] = &[need("", Tier::Operator, Place::Pair), need(ALL, Tier::Owner, Place::All)];
/// Also of a route that nobody thought of.
const OWNER: &[Need] = &[need("", Tier::Owner, Place::All)];

/// What a route takes, by its name; the first case is the general one.
pub fn needs(id: &str) -> &'static [Need] {
    match id {
        "getDocument" | "getReference" => OPEN,
        "whoAmI" | "breakGlass" | "closeBreakGlass" => OWN,
        "getStatus" | "getFleet" | "listLeases" | "listRegions" | "listPairs"
        | "listOperations" | "listApprovals" | "listPauses" | "listAudit" | "streamEvents"
        | "getCore" | "getBreakGlass" | "listRules" => VIEW_ANY,
        "getPair" | "listVersions" | "listHistory" | "diffVersions" => VIEW_PAIR,
        "getOperation" => const { &[need("", Tier::Viewer, Place::Operation)] },
        "verifyAudit" | "exportAudit" | "listSinks" | "listDeadLetters" => {
            const { &[need("", Tier::Viewer, Place::All)] }
        }
        "applyPair" => {
            const { &[need("", Tier::Admin, Place::Pair), need(DRY, Tier::Developer, Place::Pair)] }
        }
        "removePair" | "rollBackPair" => const { &[need("", Tier::Admin, Place::Pair)] },
        "switchOver" | "failBack" | "pausePair" | "resumePair" | "rejoinMember" => {
            const { &[need("", Tier::Operator, Place::Pair), need(DRY, Tier::Developer, Place::Pair)] }
        }
        "failOver" => {
            const {
                &[
                    need("", Tier::Operator, Place::Pair),
                    need(DRY, Tier::Developer, Place::Pair),
                    need(LOSS, Tier::Admin, Place::Pair),
                ]
            }
        }
        "cancelOperation" => const { &[need("", Tier::Operator, Place::Operation)] },
        "approveOperation" => {
            const {
                &[
                    need("", Tier::Operator, Place::Operation),
                    need(LOSS, Tier::Admin, Place::Operation),
                ]
            }
        }
        "pauseAutomation" | "resumeAutomation" => PAUSE,
        "retryDeadLetters" | "testSink" => const { &[need("", Tier::Admin, Place::All)] },
        "listGrants" => const { &[need("", Tier::Admin, Place::All)] },
        "listTokens" => const { &[need("", Tier::Admin, Place::AnyPair)] },
        "createToken" | "revokeToken" => const { &[need("", Tier::Admin, Place::Token)] },
        "getApproval" => const { &[need("", Tier::Viewer, Place::Approval)] },
        "approveRequest" | "rejectRequest" => {
            const { &[need("", Tier::Operator, Place::Approval)] }
        }
        // addCoreNode, removeCoreNode, setGrant, removeGrant, setRule, removeRule.
        _ => OWNER,
    }
}

/// What a demand is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The caller itself.
    Own,
    /// Some pair or other.
    AnyPair,
    /// Everything.
    All,
    /// A pair by name; `None` for a text that is no name of one.
    Pair(Option<PairId>),
    /// What a pair's spec would be labelled.
    Labels(Labels),
    /// What a pair was labelled in an older version of its spec.
    Version(PairId, u64),
    /// The pair of an operation; `None` for a text that is no name of one.
    Operation(Option<OperationId>),
    /// All that a selector fits.
    Scope(Selector),
    /// All that a token may reach; `None` for a text that is no name of one.
    Token(Option<AccessName>),
    /// The pair of a request that is kept; `None` for a text that is no name of one.
    Approval(Option<ApprovalId>),
}

/// A tier that must be held over something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The least tier.
    pub tier: Tier,
    /// Over what.
    pub target: Target,
    /// The least tier where the operation waits for the approval of a loss.
    pub with_loss: Option<Tier>,
}

/// What a route does to a pair, where a safety rule may keep a request to it.
pub fn verb(id: &str) -> Option<Verb> {
    match id {
        "switchOver" | "failBack" => Some(Verb::Switchover),
        "pausePair" => Some(Verb::Stop),
        "rejoinMember" => Some(Verb::Clone),
        "failOver" => Some(Verb::Failover),
        "applyPair" | "rollBackPair" => Some(Verb::Change),
        "removePair" => Some(Verb::Remove),
        "pauseAutomation" => Some(Verb::Pause),
        _ => None,
    }
}

/// A request, as far as it says what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name of its route.
    pub id: &'a str,
    /// The first part of its path that the caller fills in.
    pub named: Option<&'a str>,
    /// Its query.
    pub query: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

impl Asked<'_> {
    /// Whether its body says what it takes.
    pub fn body_counts(id: &str) -> bool {
        matches!(
            id,
            "applyPair"
                | "removePair"
                | "rollBackPair"
                | "switchOver"
                | "failOver"
                | "failBack"
                | "pausePair"
                | "resumePair"
                | "rejoinMember"
                | "pauseAutomation"
                | "createToken"
        )
    }

    /// The body as its route reads it; what does not fit is refused there, and is nothing here.
    fn body<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(self.body).ok()
    }

    fn query<T: DeserializeOwned>(&self) -> Option<T> {
        serde_urlencoded::from_str(self.query).ok()
    }

    /// The case, as strict as what cannot be read allows.
    fn case(&self) -> &'static str {
        let dry = match self.id {
            "applyPair" => self.query::<ApplyQuery>().is_some_and(|query| query.dry_run),
            "switchOver" => self.body::<SwitchoverRequest>().is_some_and(|body| body.dry_run),
            "failOver" => self.body::<FailoverRequest>().is_some_and(|body| body.dry_run),
            "failBack" => self.body::<FailbackRequest>().is_some_and(|body| body.dry_run),
            "pausePair" => self.body::<PausePairRequest>().is_some_and(|body| body.dry_run),
            "resumePair" => self.body::<ResumePairRequest>().is_some_and(|body| body.dry_run),
            "rejoinMember" => self.body::<RejoinRequest>().is_some_and(|body| body.dry_run),
            _ => false,
        };
        match self.id {
            _ if dry => DRY,
            "failOver"
                if self.body::<FailoverRequest>().is_none_or(|body| body.allow_data_loss) =>
            {
                LOSS
            }
            "pauseAutomation" | "resumeAutomation" if self.paused().is_none() => ALL,
            _ => "",
        }
    }

    /// What it wants to do to a pair, where a safety rule may keep it.
    pub fn verb(&self) -> Option<Verb> {
        verb(self.id).filter(|_| self.case() != DRY && !self.retries())
    }

    /// A member that tries again does nothing that it would not do by itself.
    fn retries(&self) -> bool {
        let retry = |body: RejoinRequest| body.method == RejoinMethod::Retry;
        self.id == "rejoinMember" && self.body::<RejoinRequest>().is_some_and(retry)
    }

    /// The one pair whose automation is meant.
    fn paused(&self) -> Option<PairId> {
        match self.id {
            "pauseAutomation" => self.body::<PauseRequest>()?.pair,
            "resumeAutomation" => self.query::<PauseQuery>()?.pair,
            _ => None,
        }
    }

    fn target(&self, place: Place) -> Target {
        match place {
            Place::Open | Place::Own => Target::Own,
            Place::AnyPair => Target::AnyPair,
            Place::All => Target::All,
            Place::Pair => {
                let named = self.named.and_then(|name| name.parse().ok());
                Target::Pair(self.paused().or(named))
            }
            Place::Operation => Target::Operation(self.named.and_then(|name| name.parse().ok())),
            Place::Token if self.id == "createToken" => Target::Scope(
                self.body::<TokenBody>().map_or_else(Selector::default, |body| body.selector),
            ),
            Place::Approval => Target::Approval(self.named.and_then(|name| name.parse().ok())),
            Place::Token => Target::Token(self.named.and_then(|name| name.parse().ok())),
        }
    }
}

/// What a request takes; all of it must be held.
pub fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let (needs, case) = (needs(asked.id), asked.case());
    let of = |when: &str| needs.iter().find(|need| need.when == when);
    let strictest = || OWNER.first();
    let Some(need) = of(case).or_else(strictest) else { return Vec::new() };
    let mut tier = need.tier;
    if let Some(body) = asked.body::<TokenBody>().filter(|_| asked.id == "createToken") {
        tier = tier.max(body.tier);
    }
    let general = |when| of(when).filter(|_| case.is_empty()).map(|need| need.tier);
    let demand = |target| Demand {
        tier,
        target,
        with_loss: general(LOSS).filter(|_| asked.id == "approveOperation"),
    };
    let target = asked.target(need.place);
    let mut all = vec![demand(target.clone())];
    // Nobody moves a pair into a scope they do not hold.
    match (asked.id, target) {
        ("applyPair", _) => {
            let labels = asked.body::<ApplyPair>().map(|body| body.spec.labels);
            all.extend(labels.map(|labels| demand(Target::Labels(labels))));
        }
        ("rollBackPair", Target::Pair(Some(pair))) => {
            let version = asked.body::<RollbackRequest>().map(|body| body.version);
            all.extend(version.map(|version| demand(Target::Version(pair, version))));
        }
        _ => {}
    }
    all
}
