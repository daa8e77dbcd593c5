//! The start-up self-test: a backend that cannot write, or does not compare, is found at once.

use continuum_domain::Version;

use crate::register::{Answer, RegisterStore, StoreError, Versioned};

/// The key the server tests itself on.
pub const SERVER_PROBE_KEY: &str = "probe/self-test";

/// Why a store failed its self-test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// The store did not decide.
    #[error("the self-test on {key:?} brought no decision: {error}")]
    Store {
        /// The probe key.
        key: String,
        /// What the store said.
        error: StoreError,
    },
    /// The store decided wrongly.
    #[error("the self-test on {key:?} found a store that breaks its contract: {problem}")]
    Broken {
        /// The probe key.
        key: String,
        /// What it did, and what it should have done.
        problem: String,
    },
}

/// Writes `key` twice, tries one conflicting change between, and reads back. Nobody else may write
/// `key` meanwhile. Adds two versions to the register each time.
pub async fn run(store: &dyn RegisterStore, key: &str) -> Result<(), SelfTestError> {
    let failed = |error| SelfTestError::Store { key: key.into(), error };
    let before = store.read(key).await.map_err(failed)?;
    let start = before.map_or(Version::ABSENT, |register| register.version);
    let first = Version(start.0 + 1);
    let second = Version(start.0 + 2);

    let answer = store.compare_and_swap(key, start, b"first".to_vec()).await.map_err(failed)?;
    expect(key, "a change at the right version", &answer, &Answer::Accepted(first))?;
    let held = Versioned { version: first, value: b"first".to_vec() };
    let answer = store.compare_and_swap(key, start, b"conflict".to_vec()).await.map_err(failed)?;
    expect(key, "a change at an old version", &answer, &Answer::Refused(Some(held)))?;
    let answer = store.compare_and_swap(key, first, b"second".to_vec()).await.map_err(failed)?;
    expect(key, "the next change", &answer, &Answer::Accepted(second))?;

    let last = store.read(key).await.map_err(failed)?;
    expect(key, "a read", &last, &Some(Versioned { version: second, value: b"second".to_vec() }))
}

fn expect<T: PartialEq + std::fmt::Debug>(
    key: &str,
    what: &str,
    seen: &T,
    due: &T,
) -> Result<(), SelfTestError> {
    if seen == due {
        return Ok(());
    }
    let problem = format!("{what} was answered {seen:?}, where {due:?} was due");
    Err(SelfTestError::Broken { key: key.into(), problem })
}
