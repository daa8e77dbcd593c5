//! `top`: the fleet, one pair or one operation, as they change, in a terminal.
//!
//! Only what is on the screen is asked for, one request at a time, and only what changed on it is
//! drawn, so that it works over a slow link. What could not be asked for stays on the screen and is
//! said to be old.

use std::io::IsTerminal;
use std::time::Duration;

use continuum_control_api::rest::FleetQuery;
use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::time::Instant;

use super::session::{Session, told};
use crate::args::ops::TopArgs;
use crate::config::Variables;
use crate::failure::{Exit, Failure};

mod screen;
mod state;

use state::{Data, Next, Place, State};

/// How often the ages on the screen are counted on.
const TICK: Duration = Duration::from_secs(1);

/// Shows until it is told to stop.
pub async fn run(args: TopArgs, variables: &Variables) -> Result<Exit, Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal")
            .next("`continuum fleet` and `continuum status` print the same once"));
    }
    let session = Session::open(&args.client, variables)?;
    let place = match (args.pair, args.operation) {
        (_, Some(operation)) => Place::Operation(operation),
        (Some(pair), None) => Place::Pair(pair),
        (None, None) => Place::Fleet,
    };
    let mut terminal = ratatui::try_init()
        .map_err(|error| Failure::usage(format!("the terminal cannot be drawn on: {error}")))?;
    let result =
        show(&session, args.selector, args.interval, State::new(place), &mut terminal).await;
    ratatui::restore();
    result
}

async fn show(
    session: &Session,
    selector: Option<String>,
    interval: Duration,
    mut state: State,
    terminal: &mut DefaultTerminal,
) -> Result<Exit, Failure> {
    let broken = |error: std::io::Error| Failure::new(Exit::Unknown, error.to_string());
    let query = FleetQuery { selector };
    let mut keys = EventStream::new();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let asked = state.place().clone();
        let asking = fetch(session, &query, &asked);
        tokio::pin!(asking);
        let mut pause: Option<Instant> = None;
        // One round: until the place changes, or it is time to ask again.
        loop {
            let view = state.view(session.now_ms());
            terminal.draw(|frame| screen::draw(frame, &view)).map_err(broken)?;
            let next = tokio::select! {
                answer = &mut asking, if pause.is_none() => {
                    pause = Some(Instant::now() + interval);
                    state.arrived(&asked, answer, session.now_ms());
                    Next::Stay
                }
                key = keys.next() => match key {
                    Some(Ok(Event::Key(key))) if key.kind == KeyEventKind::Press => state.key(key),
                    Some(Ok(_)) => Next::Stay,
                    Some(Err(error)) => return Err(broken(error)),
                    None => Next::Stop,
                },
                _ = ticks.tick() => Next::Stay,
                () = until(pause), if pause.is_some() => Next::Ask,
            };
            match next {
                Next::Stay => {}
                Next::Ask => break,
                Next::Stop => return Ok(Exit::Done),
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// Asks once for what is shown at a place.
async fn fetch(session: &Session, query: &FleetQuery, place: &Place) -> Result<Data, Failure> {
    let limit = session.config.timeout.min(Duration::from_secs(10));
    let asking = async {
        Ok(match place {
            Place::Fleet => Data::Fleet(session.api.fleet(query).await?),
            Place::Pair(pair) => Data::Pair(Box::new(session.api.pair(pair).await?)),
            Place::Operation(operation) => {
                Data::Operation(Box::new(session.api.operation(operation).await?))
            }
        })
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(told),
        Err(_) => Err(Failure::new(Exit::Unknown, format!("no answer within {limit:?}"))),
    }
}
