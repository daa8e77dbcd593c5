//! Second opinions, seen from outside: what the resolvers really said, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_control_api::rest::PairView;
use continuum_domain::PairRecord;
use continuum_domain::corroborate::{CorroborationEffect, NameState};
use continuum_domain::operation::{Operation, Step};

use super::Judge;
use crate::resolvers::RESOLVERS;

/// An answer older than this was one of an earlier question.
const RECENT: Duration = Duration::from_secs(3);
/// What came later than this before a change cannot have been known to who asked for it.
const ON_ITS_WAY: Duration = Duration::from_millis(300);
/// What is shown of a health name is no older: it is asked for every two seconds, with a deadline.
const SHOWN_MAX: u64 = 4_500;
/// A person's word may be carried out within this.
const ORDER_LASTS: Duration = Duration::from_secs(60);

impl Judge {
    /// A veto: who takes the lease from a silent holder by himself was not told that its name answers.
    pub(super) fn judge_veto(&mut self, now: Duration, before: &PairRecord, after: &PairRecord) {
        if self.shared.plan.corroborate != Some(CorroborationEffect::Veto) {
            return;
        }
        let (Some(from), Some(by)) = (&before.holder, &after.holder) else { return };
        let ordered = {
            let learnt = self.shared.users.learnt();
            let orders = [learnt.switchover_asked, learnt.failover_asked];
            orders.into_iter().flatten().any(|at| now < at + ORDER_LASTS)
        };
        if from == by || before.handover_to.is_some() || ordered {
            return;
        }
        let mut last: BTreeMap<usize, NameState> = BTreeMap::new();
        for said in self.shared.resolvers.said_to(by.as_str(), now.saturating_sub(RECENT)) {
            // The wish may have been on its way when a name came up, and not when it went.
            let known = said.at + ON_ITS_WAY <= now || said.state != NameState::Up;
            if said.of == from.as_str() && known {
                last.entry(said.by).or_insert(said.state);
            }
        }
        let up = last.values().filter(|state| **state == NameState::Up).count();
        if up * 2 > RESOLVERS {
            self.violated(format!(
                "veto: {by} took over from {from} although {up} resolvers had just told it that the \
                 health name answers"
            ));
        }
    }

    /// I7: what the core recorded of a second opinion is what the resolvers said, word by word.
    pub(crate) fn judge_second_opinions(&mut self, operations: &[Operation]) {
        let steps = operations.iter().flat_map(|operation| &operation.steps);
        let opinions = steps.filter(|line| line.step == Step::Corroborate);
        let opinions: Vec<String> = opinions.map(|line| line.detail.clone()).collect();
        for detail in opinions {
            self.saw("corroborated");
            let Some((head, said)) = detail.split_once(" (") else {
                self.violated(format!("I7: a second opinion without what was said: {detail}"));
                continue;
            };
            for word in ["up", "down"] {
                let agree = said.matches(&format!(" {word}: ")).count() * 2 > RESOLVERS;
                if agree != head.contains(&format!(": {word},")) {
                    self.violated(format!("I7: a second opinion that nobody gave: {detail}"));
                }
            }
        }
    }

    /// Who is held back says by what, and that is not of an earlier silence.
    pub(super) fn judge_shown_veto(&mut self, view: &PairView) {
        let reports = view.members.values().flatten();
        let blocked = reports.filter_map(|aged| aged.report.blocked.as_ref());
        let vetoed = blocked.filter(|blocked| blocked.code == "health-name-answers");
        let meanings: Vec<String> = vetoed.map(|blocked| blocked.meaning.clone()).collect();
        for meaning in meanings {
            self.saw("vetoed");
            let age = meaning.split_once("asked ").and_then(|(_, rest)| rest.split_once(" ms ago"));
            let age = age.and_then(|(age, _)| age.parse::<u64>().ok());
            if age.is_none_or(|age| age > SHOWN_MAX) {
                self.violated(format!("veto: by what was said of an earlier silence: {meaning}"));
            }
        }
    }
}
