//! The core of the controller's tests, by a script.

use super::*;

/// What the scripted core has.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) specs: BTreeMap<PairId, (u64, PairSpec)>,
    pub(super) answers: BTreeMap<String, RegionAnswer>,
    pub(super) asks: Vec<RegionAsk>,
    pub(super) moves: Vec<String>,
    /// Answers are not sent.
    pub(super) mute: bool,
    pub(super) forbids: bool,
    pub(super) desks: Vec<CoreDesk>,
}

#[derive(Clone, Default)]
pub(super) struct ScriptedCore(Arc<Mutex<Kept>>);

impl ScriptedCore {
    pub(super) fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// A region's agent comes.
    pub(super) fn connect(&self) -> (CoreDesk, CoreHandle) {
        let handle = CoreHandle::new();
        let (sender, mut receiver) = mpsc::channel(16);
        handle.connected(Some(sender));
        let desk = CoreDesk::new(handle.clone());
        self.kept().desks.push(desk.clone());
        let (core, own) = (self.clone(), desk.clone());
        seed::spawn(async move {
            while let Some(FromAgent::Ask(ask)) = receiver.recv().await {
                let request = ask.request;
                let answer = core.answer(ask);
                if !core.kept().mute {
                    own.answered(request, answer.into());
                }
                core.tell();
            }
        });
        self.tell();
        (desk, handle)
    }

    pub(super) fn tell(&self) {
        let kept = self.kept();
        let pairs: BTreeMap<_, _> = kept
            .specs
            .iter()
            .map(|(pair, (version, spec))| (pair.clone(), Some(standing(*version, spec).into())))
            .collect();
        for desk in &kept.desks {
            desk.told(true, pairs.clone());
        }
    }

    pub(super) fn answer(&self, ask: RegionAsk) -> RegionAnswer {
        let mut kept = self.kept();
        kept.asks.push(ask.clone());
        if let Some(answer) = kept.answers.get(&ask.key) {
            return answer.clone();
        }
        let refused = |code: &str| RegionAnswer::Refused {
            code: code.into(),
            text: "no".into(),
            again: false,
        };
        if kept.forbids {
            return refused("forbidden");
        }
        let Heard::Understood(wish) = ask.wish else { panic!("not understood") };
        let answer = match wish {
            RegionWish::Apply { spec, expected } => {
                let at = kept.specs.get(&ask.pair).map(|(version, _)| *version);
                if at != expected {
                    return refused("precondition-failed");
                }
                let version = at.unwrap_or(0) + 1;
                kept.specs.insert(ask.pair, (version, *spec));
                RegionAnswer::Applied { version }
            }
            RegionWish::Switchover { to } => {
                kept.moves.push(to.to_string());
                let operation = format!("op-{}", kept.moves.len());
                RegionAnswer::Started { operation: OperationId::new(operation).unwrap() }
            }
        };
        kept.answers.insert(ask.key, answer.clone());
        answer
    }

    /// Somebody changes the spec there.
    pub(super) fn change(&self, change: impl FnOnce(&mut PairSpec)) {
        if let Some((version, spec)) = self.kept().specs.get_mut(&app()) {
            *version += 1;
            change(spec);
        }
        self.tell();
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.kept().specs.get(&app()).map(|(version, _)| *version)
    }
}

pub(super) fn standing(version: u64, spec: &PairSpec) -> PairStanding {
    PairStanding {
        version,
        spec: spec.clone().into(),
        posture: Posture::Protected,
        reasons: Vec::new(),
        holder: Some(RegionId::new("fsn").unwrap()),
        epoch: Some(Epoch(3)),
        fresh: true,
        in_sync: Some(spec.members.keys().cloned().collect()),
        streaming: Some(true),
        lag_ms: None,
        lag_bytes: Some(0),
        operation: None,
        last_move: None,
        blocked: BTreeMap::new(),
        rejoining: Vec::new(),
    }
}
