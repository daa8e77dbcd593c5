//! How a pair stands, in one word and with every reason. The same for the API, the command and the
//! metrics.

use std::collections::{BTreeMap, BTreeSet};

use continuum_domain::observation::SqlView;
use continuum_domain::spec::{PairMode, PairSpec};
use continuum_domain::{Epoch, PairId, RegionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::link::{MemberReport, MemberRole};
use crate::rest::PairView;

/// A report, or PostgreSQL's answer in it, that is older says nothing of now.
pub const REPORT_AGE_MS_MAX: u64 = 5_000;
/// The same for a register: agents read it once a round, which is seconds with the longest ttl.
pub const RECORD_AGE_MS_MAX: u64 = 30_000;

/// How a pair stands. The worse, the earlier.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Posture {
    /// Nobody can write, or something waits for a person.
    Blocked,
    /// What would have to be known is not.
    Unknown,
    /// It can be written, and the next failure would cost more than it should.
    AtRisk,
    /// It can be written, and losing the primary would lose nothing and need nobody.
    Protected,
    /// It is stopped everywhere, on purpose, until somebody resumes it.
    Paused,
}

/// One pair in the summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairPosture {
    /// The pair.
    pub pair: PairId,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How it stands.
    pub posture: Posture,
    /// Why it is not protected; empty when it is.
    pub reasons: Vec<String>,
    /// Who holds it; absent when unknown or vacant.
    pub holder: Option<RegionId>,
    /// Newest known epoch; absent when unknown.
    pub epoch: Option<Epoch>,
}

/// `GET /fleet`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    /// How many pairs stand how.
    pub counts: BTreeMap<Posture, usize>,
    /// The pairs, the worst first, then by name.
    pub pairs: Vec<PairPosture>,
}

/// What is looked at of a pair to say how it stands. Borrowed: a fleet is judged without a copy of every
/// report.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// Its spec.
    pub spec: &'a PairSpec,
    /// Newest known epoch.
    pub epoch: Option<Epoch>,
    /// The lease holder by the newest known register; absent when unknown or vacant.
    pub holder: Option<&'a RegionId>,
    /// Stopped everywhere, by this region's hand.
    pub resting: Option<&'a RegionId>,
    /// Nobody but the holder may hold the pair.
    pub barred: bool,
    /// Age of the newest register in milliseconds; absent when none was reported.
    pub record_age_ms: Option<u64>,
    /// The in-sync ledger; absent when unknown.
    pub in_sync: Option<Vec<&'a RegionId>>,
    /// What each member's agent said last, and how many milliseconds ago; absent when it never did.
    pub members: BTreeMap<&'a RegionId, Option<(u64, &'a MemberReport)>>,
    /// Members that go on by an older spec.
    pub not_understood: BTreeSet<&'a RegionId>,
    /// Who paused the automation.
    pub paused_by: Option<&'a str>,
}

impl<'a> From<&'a PairView> for Known<'a> {
    fn from(view: &'a PairView) -> Self {
        let members = view
            .members
            .iter()
            .map(|(region, aged)| (region, aged.as_ref().map(|aged| (aged.age_ms, &aged.report))));
        Self {
            spec: &view.spec,
            epoch: view.epoch,
            holder: view.holder.as_ref(),
            resting: view.resting.as_ref(),
            barred: view.barred,
            record_age_ms: view.record_age_ms,
            in_sync: view.in_sync.as_ref().map(|listed| listed.iter().collect()),
            members: members.collect(),
            not_understood: view.not_understood.keys().collect(),
            paused_by: view.automation.as_ref().map(|pause| pause.actor.as_str()),
        }
    }
}

impl Fleet {
    /// The summary of these pairs.
    pub fn of(pairs: impl IntoIterator<Item = PairPosture>) -> Self {
        let mut fleet = Self { counts: BTreeMap::new(), pairs: pairs.into_iter().collect() };
        for pair in &fleet.pairs {
            *fleet.counts.entry(pair.posture).or_default() += 1;
        }
        fleet.pairs.sort_by(|a, b| (a.posture, &a.pair).cmp(&(b.posture, &b.pair)));
        fleet
    }
}

/// How a pair stands, and every reason that it is not protected. `waits`: an operation on it waits for
/// an approval.
pub fn posture(pair: &PairView, waits: bool) -> (Posture, Vec<String>) {
    Known::from(pair).posture(waits)
}

/// Whether the newest register that any agent read tells of now.
pub fn record_is_fresh(pair: &PairView) -> bool {
    is_fresh(pair.record_age_ms)
}

fn is_fresh(record_age_ms: Option<u64>) -> bool {
    record_age_ms.is_some_and(|age| age <= RECORD_AGE_MS_MAX)
}

impl Known<'_> {
    /// The pair's line in the summary of the fleet.
    pub fn summary(&self, waits: bool) -> PairPosture {
        let (posture, reasons) = self.posture(waits);
        PairPosture {
            pair: self.spec.id.clone(),
            labels: self.spec.labels.clone(),
            posture,
            reasons,
            holder: self.holder.cloned(),
            epoch: self.epoch,
        }
    }

    /// How the pair stands, and every reason that it is not protected. `waits`: an operation on it
    /// waits for an approval.
    pub fn posture(&self, waits: bool) -> (Posture, Vec<String>) {
        let mut found = Vec::new();
        if waits {
            found.push((Posture::Blocked, "an operation waits for an approval".into()));
        }
        let is_known = is_fresh(self.record_age_ms);
        if let Some(by) = self.resting.filter(|_| is_known) {
            return at_rest(self, by, found);
        }
        match (self.holder, is_known) {
            (None, true) => {
                found.push((Posture::Blocked, "nobody holds it: writes are refused".into()));
            }
            (None, false) => found.push((Posture::Unknown, "who holds it is not known".into())),
            (Some(holder), known) => {
                if !known {
                    let text =
                        "its register was not read lately: holder and ledger may have changed";
                    found.push((Posture::Unknown, text.into()));
                }
                found.extend(of_holder(self, holder));
            }
        }
        for region in self.spec.members.keys() {
            found.extend(of_member(self, region));
        }
        found.extend(of_redundancy(self));
        let worst = found.iter().map(|(posture, _)| *posture).min().unwrap_or(Posture::Protected);
        found.sort_by_key(|(posture, _)| *posture);
        (worst, found.into_iter().map(|(_, reason)| reason).collect())
    }
}

/// A pair that rests has no redundancy to judge. What is told is where PostgreSQL is not known to stand
/// still.
fn at_rest(
    pair: &Known<'_>,
    by: &RegionId,
    mut found: Vec<(Posture, String)>,
) -> (Posture, Vec<String>) {
    found.push((Posture::Paused, format!("paused: {by} stopped it; resume it when it is needed")));
    for region in pair.spec.members.keys() {
        match fresh(pair, region).map(|(_, report)| report.role) {
            Some(MemberRole::Resting) => {}
            Some(MemberRole::Unknown) => {
                found.push((Posture::Unknown, format!("{region}: in a state that is not known")));
            }
            Some(_) => found.push((Posture::Paused, format!("{region}: not stopped yet"))),
            // That nobody can write is the register's word, not this agent's.
            None => found.push((Posture::Paused, format!("{region}: not heard from"))),
        }
    }
    let worst = found.iter().map(|(posture, _)| *posture).min().unwrap_or(Posture::Paused);
    (worst, found.into_iter().map(|(_, reason)| reason).collect())
}

/// A member's report that tells of now, and its age.
fn fresh<'a>(pair: &Known<'a>, region: &RegionId) -> Option<(u64, &'a MemberReport)> {
    let told = *pair.members.get(region)?;
    told.filter(|(age_ms, _)| *age_ms <= REPORT_AGE_MS_MAX)
}

/// What the holder's PostgreSQL said lately.
fn holders_sql<'a>(pair: &Known<'a>) -> Option<&'a SqlView> {
    let (age_ms, report) = fresh(pair, pair.holder?)?;
    let (sql, age) = report.sql.as_ref()?;
    (age.saturating_add(age_ms) <= REPORT_AGE_MS_MAX).then_some(sql)
}

fn of_holder(pair: &Known<'_>, holder: &RegionId) -> Option<(Posture, String)> {
    // Silence is told of the member.
    let (age_ms, report) = fresh(pair, holder)?;
    let role = match report.role {
        MemberRole::Primary => return of_primary(pair, holder, (age_ms, report)),
        MemberRole::Unknown => "in a state that is not known",
        MemberRole::Promoting => "still on its way to accept writes",
        MemberRole::Fenced => "stopped to keep the invariant",
        MemberRole::HandingOver => "stopped for a switchover",
        MemberRole::Resting => "stopped for a pause that is over",
        MemberRole::Standby | MemberRole::Rejoining => "not a primary yet",
    };
    let posture = match report.role {
        MemberRole::Unknown => Posture::Unknown,
        _ => Posture::Blocked,
    };
    Some((posture, format!("{holder} holds it and is {role}")))
}

/// A holder whose agent says that PostgreSQL accepts writes: PostgreSQL itself must have said so too.
fn of_primary(
    pair: &Known<'_>,
    holder: &RegionId,
    (age_ms, report): (u64, &MemberReport),
) -> Option<(Posture, String)> {
    if holders_sql(pair).is_none() {
        return Some((Posture::Unknown, format!("{holder}: PostgreSQL did not answer lately")));
    }
    let stall_ms = u64::try_from(pair.spec.write_stall_timeout.as_millis()).unwrap_or(u64::MAX);
    match report.write_probe_age_ms.map(|age| age.saturating_add(age_ms)) {
        None => Some((Posture::Unknown, format!("{holder}: no write has reached its disk yet"))),
        Some(age) if age > stall_ms => {
            Some((Posture::Blocked, format!("{holder}: no write reached its disk for {age} ms")))
        }
        Some(_) => None,
    }
}

fn of_member(pair: &Known<'_>, region: &RegionId) -> Vec<(Posture, String)> {
    let is_holder = pair.holder == Some(region);
    let Some((_, report)) = fresh(pair, region) else {
        let age = pair.members.get(region).and_then(|told| Some(told.as_ref()?.0));
        let since = age.map_or("never since this leader came".into(), |ms| format!("{ms} ms ago"));
        let posture = if is_holder { Posture::Unknown } else { Posture::AtRisk };
        return vec![(posture, format!("{region}: its agent reported {since}"))];
    };
    let mut found = Vec::new();
    let worse = if is_holder { Posture::Blocked } else { Posture::AtRisk };
    if let Some(blocked) = &report.blocked {
        found.push((worse, format!("{region}: {}", blocked.code)));
    }
    if report.fenced.is_some() {
        found.push((worse, format!("{region}: fenced by a person")));
    }
    for hindrance in &report.hindrances {
        found.push((Posture::AtRisk, format!("{region}: {}", hindrance.code)));
    }
    if !report.guard_alive {
        found.push((Posture::AtRisk, format!("{region}: its guard does not answer")));
    }
    if !report.witness_reachable {
        found.push((Posture::AtRisk, format!("{region}: the witness is out of its reach")));
    }
    if pair.not_understood.contains(region) {
        found.push((Posture::AtRisk, format!("{region}: goes on by an older spec")));
    }
    found
}

/// A listed standby that does not stream holds commits up, and takes over later than it should.
fn of_listed(pair: &Known<'_>, listed: &[&RegionId]) -> Vec<(Posture, String)> {
    // A primary that does not answer is told of the holder.
    let Some(sql) = holders_sql(pair) else { return Vec::new() };
    let away = |region: &&&RegionId| {
        pair.holder != Some(**region)
            && !sql.standbys.get(**region).is_some_and(|standby| standby.streaming)
    };
    let told = |region: &&RegionId| {
        (Posture::AtRisk, format!("{region}: in the ledger, and does not stream"))
    };
    listed.iter().filter(away).map(told).collect()
}

fn of_redundancy(pair: &Known<'_>) -> Vec<(Posture, String)> {
    let mut found = Vec::new();
    let at_risk = |text: String| (Posture::AtRisk, text);
    if !pair.spec.durability.is_synchronous() {
        found.push(at_risk("async: a failover may lose acknowledged writes".into()));
    } else {
        match &pair.in_sync {
            None => found.push((Posture::Unknown, "the in-sync ledger is not known".into())),
            Some(listed) if listed.len() < 2 => {
                found.push(at_risk("no standby is in sync: one copy only".into()));
            }
            Some(listed) => found.extend(of_listed(pair, listed)),
        }
    }
    if pair.barred {
        found.push(at_risk("nobody may take over: its register is paused".into()));
    }
    if let Some(actor) = pair.paused_by {
        found.push(at_risk(format!("automation is paused by {actor}")));
    }
    match pair.spec.mode {
        PairMode::Automatic => {}
        PairMode::SemiAutomatic | PairMode::Manual | PairMode::ObserveOnly => {
            found.push(at_risk("it does not fail over by itself (mode)".into()));
        }
    }
    found
}

#[cfg(test)]
#[path = "posture_tests.rs"]
mod tests;
