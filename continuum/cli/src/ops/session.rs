//! One run of an ops verb: configuration, client, deadline, style; and how its errors are told.

use std::time::Duration;

use continuum_control_api::client::{ApiClient, ClientError};
use continuum_runtime::{BootClock, Clock};
use tokio::time::Instant;

use crate::args::ops::ClientFlags;
use crate::config::client::{self, ClientConfig, OutputFormat};
use crate::config::{Reading, Variables};
use crate::failure::{Exit, Failure};
use crate::render::style::Style;
use crate::render::text::one_line;

/// How long a request that is not waited on is repeated while no control node leads: an election
/// takes a second or two, and a person at a prompt should not wait longer for "not reachable".
const RETRY_PLAIN: Duration = Duration::from_secs(5);
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What a verb works with.
#[derive(Debug)]
pub struct Session {
    /// The control core.
    pub api: ApiClient,
    /// The configuration in force.
    pub config: ClientConfig,
    /// Colours.
    pub style: Style,
    deadline: Instant,
}

/// Reads the client configuration with flags applied.
pub fn configuration(
    flags: &ClientFlags,
    variables: &Variables,
    needs_core: bool,
) -> Result<ClientConfig, Failure> {
    let reading = Reading { variables, files: true };
    let file = client::locate(flags.config.as_deref(), variables);
    // A verb that talks to an agent alone works where no control node is configured.
    let unused = || vec![client::endpoint("unused=localhost:1").expect("a valid endpoint")];
    let endpoints = flags.endpoints.clone().or_else(|| (!needs_core).then(unused));
    let mut config = client::resolve(file.as_deref(), reading, endpoints)?;
    config.output = flags.output.unwrap_or(config.output);
    config.timeout = flags.timeout.unwrap_or(config.timeout);
    Ok(config)
}

impl Session {
    /// Reads the configuration and prepares the client; nothing is sent yet.
    pub fn open(flags: &ClientFlags, variables: &Variables) -> Result<Self, Failure> {
        let config = configuration(flags, variables, true)?;
        let endpoints = config
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.name.clone(), endpoint.address.clone()))
            .collect();
        let api = ApiClient::with(endpoints, &config.credentials()?).map_err(told)?;
        let deadline = Instant::now() + config.timeout;
        Ok(Self { api, config, style: Style::detect(variables), deadline })
    }

    /// The output format.
    pub fn output(&self) -> OutputFormat {
        self.config.output
    }

    /// Wall clock, for ages of things that carry wall-clock times.
    pub fn now_ms(&self) -> i64 {
        BootClock.wall_ms()
    }

    /// Repeats a request while the core has no leader or cannot be reached, for a moment.
    pub async fn ask<T>(
        &self,
        call: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        retry(self.deadline, Instant::now() + RETRY_PLAIN, call).await
    }

    /// As [`Session::ask`], up to the command's whole timeout.
    pub async fn insist<T>(
        &self,
        call: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        retry(self.deadline, self.deadline, call).await
    }

    /// Whether the command's time is up.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Repeats `call` until it gives an answer that repeating will not change, or until `repeat_until`;
/// one that is still waited for is given up at `deadline`. Requests are safe to repeat: the core
/// answers an operation that is under way instead of starting a second.
pub async fn retry<T>(
    deadline: Instant,
    repeat_until: Instant,
    mut call: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, Failure> {
    loop {
        let error = match tokio::time::timeout_at(deadline, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(unanswered("no answer within the timeout".into())),
        };
        if !is_passing(&error) || Instant::now() + RETRY_PAUSE >= repeat_until.min(deadline) {
            return Err(told(error));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether the same request may succeed in a moment: no leader yet, or nobody reached.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Problem { status, problem } => *status >= 500 && problem.retryable,
        ClientError::Unreachable { .. } => true,
        _ => false,
    }
}

fn unanswered(what: String) -> Failure {
    Failure::new(Exit::Unknown, what)
        .meaning("PostgreSQL does not depend on the core; a change that was asked for may or may not have been taken up")
        .next("look with `continuum status` and `continuum operation list` before asking again")
}

/// What an error of the API means to the caller.
pub fn told(error: ClientError) -> Failure {
    match error {
        ClientError::Setup(why) => Failure::usage(why),
        ClientError::Unreachable { tried } => {
            let tried: Vec<_> =
                tried.iter().map(|(at, why)| format!("  {at}: {}", one_line(why))).collect();
            let mut failure = unanswered("no control node answered".into());
            failure.what.extend(tried);
            failure
        }
        ClientError::NotUnderstood { endpoint, problem } => unanswered(format!(
            "{endpoint} answered with something that is not understood: {problem}"
        )),
        ClientError::Kept(view) => {
            let what = format!(
                "{} waits for another person: rule {} asks for a {}",
                view.id, view.rule, view.approver
            );
            Failure::new(Exit::Refused, what)
                .meaning("nothing was changed")
                .next(format!("another person runs `continuum approvals approve {}`", view.id))
        }
        ClientError::Problem { status, problem } => {
            let exit = exit_of(status, &problem.code);
            let mut failure =
                Failure::new(exit, format!("{}: {}", problem.code, one_line(&problem.detail)));
            failure
                .what
                .extend(problem.reasons.iter().map(|text| format!("  - {}", one_line(text))));
            if problem.retryable {
                failure = failure.next("the same command may succeed later");
            }
            failure
        }
    }
}

/// The exit code for an HTTP status and the problem's code.
pub fn exit_of(status: u16, code: &str) -> Exit {
    match status {
        // An older or newer server: the command as given cannot be carried out.
        _ if code == "no-such-route" || code == "no-such-method" => Exit::Usage,
        404 | 410 => Exit::NotFound,
        400 | 405 | 413 | 415 | 422 => Exit::Usage,
        500..=599 | 408 => Exit::Unknown,
        _ => Exit::Refused,
    }
}

#[cfg(test)]
mod tests {
    use continuum_control_api::problem::Problem;

    use super::*;

    fn problem(status: u16, retryable: bool) -> ClientError {
        let problem = Problem {
            code: "x".into(),
            detail: "m".into(),
            reasons: vec!["first".into(), "second".into()],
            retryable,
            ..Problem::default()
        };
        ClientError::Problem { status, problem: Box::new(problem) }
    }

    #[test]
    fn every_kind_of_answer_has_its_exit_code() {
        for (status, code, exit) in [
            (400, "query-refused", Exit::Usage),
            (403, "forbidden", Exit::Refused),
            (404, "pair-not-found", Exit::NotFound),
            (404, "no-such-route", Exit::Usage),
            (409, "refused", Exit::Refused),
            (422, "body-refused", Exit::Usage),
            (500, "internal", Exit::Unknown),
            (503, "no-leader", Exit::Unknown),
        ] {
            assert_eq!(exit_of(status, code), exit, "{status} {code}");
        }
        assert_eq!(told(ClientError::Setup("x".into())).exit, Exit::Usage);
        let unreachable = told(ClientError::Unreachable { tried: vec![("a".into(), "b".into())] });
        assert_eq!(unreachable.exit, Exit::Unknown);
        assert!(!unreachable.meaning.is_empty() && !unreachable.next.is_empty());
    }

    #[test]
    fn reasons_are_printed_one_a_line() {
        let text = told(problem(409, false)).to_string();
        assert_eq!(text, "x: m\n  - first\n  - second");
    }

    #[tokio::test]
    async fn a_leader_change_is_waited_out_and_a_refusal_is_not() {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = 3;
        let answer = retry(deadline, deadline, async || {
            left -= 1;
            if left > 0 { Err(problem(503, true)) } else { Ok(7) }
        });
        assert_eq!(answer.await, Ok(7));
        let mut asked = 0;
        let refused = retry(deadline, deadline, async || {
            asked += 1;
            Err::<(), _>(problem(409, true))
        });
        assert_eq!(refused.await.unwrap_err().exit, Exit::Refused);
        assert_eq!(asked, 1);
    }

    #[tokio::test]
    async fn the_deadline_ends_it_with_an_unknown_outcome() {
        let deadline = Instant::now() + Duration::from_millis(300);
        let failure =
            retry(deadline, deadline, async || Err::<(), _>(problem(503, true))).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unknown);
        let hung = retry(deadline, deadline, async || {
            std::future::pending::<Result<(), ClientError>>().await
        });
        assert_eq!(hung.await.unwrap_err().exit, Exit::Unknown);
    }
}
