//! Clients' connections.
//!
//! A connection is a stream: what is lost is sent again while both ends are there, and answers come
//! in order, the end of the connection last. An acknowledgement is one when it has come to a client
//! that still waits for it.
//!
//! Each statement is a transaction of its own under the pair's `synchronous_commit`, or under a lower
//! one while sessions lower it. Not modelled: transactions of several statements, poolers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::cluster::Cluster;
use super::judge::{Acknowledged, Content, Event, SessionId};
use super::member::{Commit, Release};
use super::world::World;

/// How often the end of a connection is told before its client is left to its own timeout.
const CLOSE_ATTEMPTS: u32 = 50;

/// Why a connection was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// PostgreSQL, or the host without it, said no.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody answered in time.
    #[error("no answer")]
    Unreachable,
}

/// Why nobody knows whether a commit took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The connection ended before the answer.
    #[error("the connection was lost")]
    ConnectionLost,
    /// Its wait for the standbys was cancelled: it is on this member for certain, and perhaps on no
    /// other (R11).
    #[error("the wait for the standbys was cancelled")]
    WaitCancelled,
    /// No answer in the time a client waits.
    #[error("no answer in time")]
    Timeout,
}

/// How a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It certainly did not commit, and never will.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have committed, or still may.
    #[error("unresolved: {0}")]
    Unknown(Unresolved),
}

#[derive(Clone, Copy, Debug)]
enum Query {
    Append(u64),
    Register(u64),
    ReadRegister,
    ReadSet,
}

#[derive(Clone, Debug)]
enum Answer {
    Committed(Acknowledged),
    Cancelled,
    Refused(String),
    Value(Option<u64>),
    Set(Vec<u64>),
}

type Sender = oneshot::Sender<Result<Answer, WriteError>>;

/// A connection, both ends.
pub(super) struct Client {
    place: String,
    member: usize,
    life: u64,
    /// As the client knows.
    open: bool,
    /// As the member knows.
    served: bool,
    /// The statement under way, by number.
    asked: Option<(u64, Sender)>,
    /// Sent by the member and not yet there; `None` is the end of the connection.
    coming: VecDeque<Option<(u64, Answer)>>,
}

/// One client's connection to one member. Dropping it closes it. One statement at a time: one that
/// was given up leaves the connection of no further use.
pub struct Session {
    cluster: Arc<Cluster>,
    id: SessionId,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cluster.world().client_leaves(self.id);
    }
}

impl Session {
    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Commits one element of the set. `Ok`: acknowledged.
    pub async fn append(&self, id: u64) -> Result<(), WriteError> {
        self.ask(Query::Append(id)).await.map(drop)
    }

    /// Commits a new value of the register. `Ok`: acknowledged. Writers of the register wait for
    /// one another, also while one waits for its standbys.
    pub async fn write_register(&self, value: u64) -> Result<(), WriteError> {
        self.ask(Query::Register(value)).await.map(drop)
    }

    /// The register's value as this member shows it; `None` before the first write. A primary does
    /// not show commits that wait for their standbys, a standby shows what it has applied.
    pub async fn read_register(&self) -> Result<Option<u64>, WriteError> {
        match self.ask(Query::ReadRegister).await? {
            Answer::Value(value) => Ok(value),
            _ => Ok(None),
        }
    }

    /// The set as this member shows it, in the order of commits.
    pub async fn read_set(&self) -> Result<Vec<u64>, WriteError> {
        match self.ask(Query::ReadSet).await? {
            Answer::Set(set) => Ok(set),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether the connection is still open, as far as the client knows.
    pub fn is_open(&self) -> bool {
        self.cluster.world().clients.get(&self.id.0).is_some_and(|client| client.open)
    }

    async fn ask(&self, query: Query) -> Result<Answer, WriteError> {
        let (sender, receiver) = oneshot::channel();
        self.cluster.world().client_asks(self.id, query, sender);
        match receiver.await.unwrap_or(Err(WriteError::Unknown(Unresolved::ConnectionLost)))? {
            Answer::Refused(why) => Err(WriteError::Refused(why)),
            Answer::Cancelled => Err(WriteError::Unknown(Unresolved::WaitCancelled)),
            answer => Ok(answer),
        }
    }
}

impl Cluster {
    /// A client's connection from `from` to a member. Standbys let clients in to read.
    ///
    /// # Panics
    /// When there is no such member.
    pub async fn connect(
        self: &Arc<Self>,
        from: &str,
        to: &continuum_domain::RegionId,
    ) -> Result<Session, ConnectError> {
        let r = self.index(to);
        let (sender, receiver) = oneshot::channel();
        self.world().client_connects(from.to_owned(), r, Arc::new(Mutex::new(Some(sender))));
        let id = receiver.await.unwrap_or(Err(ConnectError::Unreachable))?;
        Ok(Session { cluster: self.clone(), id })
    }
}

/// Who waits for a connection: the answer, or the end of the time for it, whichever comes first.
type Connecting = Arc<Mutex<Option<oneshot::Sender<Result<SessionId, ConnectError>>>>>;

/// False: nobody waits any more.
fn tell(waits: &Connecting, result: Result<SessionId, ConnectError>) -> bool {
    let sender = waits.lock().unwrap_or_else(PoisonError::into_inner).take();
    sender.is_some_and(|sender| sender.send(result).is_ok())
}

impl World {
    fn client_connects(&mut self, from: String, r: usize, reply: Connecting) {
        let (limit, waits) = (self.settings.connect_timeout, reply.clone());
        self.after(limit, move |_| {
            tell(&waits, Err(ConnectError::Unreachable));
        });
        let until = self.now + limit;
        self.client_knocks(from, r, until, reply);
    }

    /// A connection takes a message there, one back and one there again.
    fn client_knocks(&mut self, from: String, r: usize, until: Duration, reply: Connecting) {
        let host = self.members[r].config.host.clone();
        let there = self.wire.delay(&from, &host);
        let back = self.wire.delay(&host, &from);
        let again = self.wire.delay(&from, &host);
        let dead = self.members[r].host.off || self.members[r].host.frozen;
        if let (Some(there), Some(back), Some(again), false) = (there, back, again, dead) {
            let takes = there + back + again;
            return self.after_on(r, takes, move |w| w.client_is_let_in(from, r, reply));
        }
        if self.now < until {
            let pause = self.settings.retransmit;
            self.after(pause, move |w| w.client_knocks(from, r, until, reply));
        }
    }

    fn client_is_let_in(&mut self, from: String, r: usize, reply: Connecting) {
        let places = self.settings.client_connections;
        let (host, accepts) = (self.members[r].config.host.clone(), self.members[r].accepts());
        let life = self.members[r].pg.as_ref().map_or(0, |pg| pg.life);
        let taken = self.clients.values().filter(|c| c.served && c.member == r && c.life == life);
        let result = match taken.count() {
            _ if self.members[r].host.off => return,
            _ if !accepts => Err(ConnectError::Refused("not accepting connections".into())),
            taken if taken >= places => Err(ConnectError::Refused("too many clients".into())),
            _ => {
                let id = self.number();
                let client = Client {
                    place: from.clone(),
                    member: r,
                    life,
                    open: true,
                    served: true,
                    asked: None,
                    coming: VecDeque::new(),
                };
                self.clients.insert(id, client);
                Ok(SessionId(id))
            }
        };
        let made = result.as_ref().ok().copied();
        // Lost on its way back, it is as if nobody had answered.
        let lost = self.settings.connect_timeout;
        let delay = self.wire.delay(&host, &from).unwrap_or(lost);
        self.after(delay, move |w| {
            if !tell(&reply, result) {
                made.into_iter().for_each(|id| w.client_leaves(id));
            }
        });
    }

    fn client_asks(&mut self, id: SessionId, query: Query, reply: Sender) {
        let number = self.number();
        let why = match self.clients.get_mut(&id.0) {
            Some(client) if client.open && client.asked.is_none() => {
                client.asked = Some((number, reply));
                let limit = self.settings.client_timeout;
                self.after(limit, move |w| w.client_gives_up(id, number));
                return self.carry_query(id, number, query);
            }
            Some(client) if client.open => "a statement is under way",
            _ => "the connection is closed",
        };
        drop(reply.send(Err(WriteError::Refused(why.into()))));
    }

    fn client_gives_up(&mut self, id: SessionId, number: u64) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        if client.asked.as_ref().is_some_and(|(asked, _)| *asked == number) {
            let reply = client.asked.take();
            client.open = false;
            self.tell_leaving(id);
            if let Some((_, reply)) = reply {
                drop(reply.send(Err(WriteError::Unknown(Unresolved::Timeout))));
            }
        }
    }

    fn asks_still(&self, id: SessionId, number: u64) -> bool {
        let client = self.clients.get(&id.0);
        client.and_then(|client| client.asked.as_ref()).is_some_and(|(asked, _)| *asked == number)
    }

    fn carry_query(&mut self, id: SessionId, number: u64, query: Query) {
        let Some(client) = self.clients.get(&id.0) else { return };
        let (r, place) = (client.member, client.place.clone());
        match self.wire.delay(&place, &self.members[r].config.host) {
            Some(delay) => self.after_on(r, delay, move |w| w.statement(id, number, query)),
            None => {
                let pause = self.settings.retransmit;
                self.after(pause, move |w| {
                    if w.asks_still(id, number) {
                        w.carry_query(id, number, query);
                    }
                });
            }
        }
    }

    /// A backend reads a statement.
    fn statement(&mut self, id: SessionId, number: u64, query: Query) {
        let Some(client) = self.clients.get(&id.0) else { return };
        let (r, life, served) = (client.member, client.life, client.served);
        if self.members[r].host.off {
            return;
        }
        let Some(pg) = self.members[r].alive(life).filter(|pg| pg.serving && served) else {
            return self.close_client(id);
        };
        let primary = pg.primary;
        let answer = match query {
            Query::ReadSet => Answer::Set(self.visible(r).0),
            Query::ReadRegister => Answer::Value(self.visible(r).1),
            _ if !primary => Answer::Refused("cannot write in a read-only transaction".into()),
            // Room in a page that is there is found often enough.
            _ if self.members[r].host.full && self.chance(self.settings.odds / 2) => {
                Answer::Refused("could not extend file: no space left on device".into())
            }
            Query::Append(value) => return self.write(r, id, number, Content::Append(value)),
            Query::Register(value) => return self.lock_row(r, id, number, value),
        };
        self.answer_client(id, Some((number, answer)));
    }

    /// The register's row is locked until the transaction that changed it has ended, and that waits
    /// for its standbys first.
    fn lock_row(&mut self, r: usize, id: SessionId, number: u64, value: u64) {
        let Some(pg) = self.pg(r) else { return };
        if pg.row.is_some() {
            let write = move |w: &mut World| w.lock_row(r, id, number, value);
            return pg.row_queue.push_back((id, Box::new(write)));
        }
        if self.clients.get(&id.0).is_none_or(|client| !client.served) {
            return self.unlock_row(r);
        }
        if let Some(pg) = self.pg(r) {
            pg.row = Some(id);
        }
        self.write(r, id, number, Content::Register(value));
    }

    fn unlock_row(&mut self, r: usize) {
        let Some(pg) = self.pg(r) else { return };
        pg.row = None;
        if let Some((_, next)) = pg.row_queue.pop_front() {
            next(self);
        }
    }

    fn write(&mut self, r: usize, id: SessionId, number: u64, content: Content) {
        let Some(record) = self.insert(r, content) else { return };
        let end = record.end;
        let lowered_since = self.members[r].lowered_since;
        let commit = Commit {
            end,
            record: record.id,
            session: Some(id),
            local: lowered_since.is_some(),
            counted: true,
            then: Box::new(move |w, how| {
                if matches!(record.content, Content::Register(_)) {
                    w.unlock_row(r);
                }
                let answer = match how {
                    Release::Cancelled => Answer::Cancelled,
                    Release::Done => Answer::Committed(Acknowledged {
                        session: id,
                        member: w.region(r),
                        record: record.id,
                        end,
                        content: record.content,
                        line: record.line,
                        timeline: record.timeline,
                        released: w.now,
                        lowered_since,
                    }),
                };
                w.answer_client(id, Some((number, answer)));
            }),
        };
        self.commit(r, commit);
    }

    fn answer_client(&mut self, id: SessionId, what: Option<(u64, Answer)>) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        client.coming.push_back(what);
        self.carry_answer(id, CLOSE_ATTEMPTS);
    }

    fn carry_answer(&mut self, id: SessionId, attempts: u32) {
        let Some(client) = self.clients.get(&id.0) else { return };
        let host = &self.members[client.member];
        if host.host.off || attempts == 0 {
            return;
        }
        match self.wire.delay(&host.config.host, &client.place).filter(|_| !host.host.frozen) {
            Some(delay) => self.after(delay, move |w| w.answer_arrives(id)),
            None => {
                let pause = self.settings.retransmit;
                self.after(pause, move |w| w.carry_answer(id, attempts - 1));
            }
        }
    }

    fn answer_arrives(&mut self, id: SessionId) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        match client.coming.pop_front() {
            Some(Some((number, answer))) => {
                let asked = client.asked.take_if(|(asked, _)| *asked == number);
                let Some((_, reply)) = asked else { return };
                let acknowledged = match &answer {
                    Answer::Committed(acknowledged) => Some(acknowledged.clone()),
                    _ => None,
                };
                // A client that is gone has received nothing.
                if reply.send(Ok(answer)).is_ok()
                    && let Some(acknowledged) = acknowledged
                {
                    self.note(Event::Acknowledged(acknowledged));
                }
            }
            Some(None) => {
                client.open = false;
                if let Some((_, reply)) = client.asked.take() {
                    let lost = WriteError::Unknown(Unresolved::ConnectionLost);
                    drop(reply.send(Err(lost)));
                }
            }
            None => {}
        }
    }

    /// The client closes its end.
    pub fn client_leaves(&mut self, id: SessionId) {
        if let Some(client) = self.clients.get_mut(&id.0) {
            client.open = false;
            client.asked = None;
            self.tell_leaving(id);
        }
    }

    /// The member hears of it; a commit that waits goes on waiting all the same.
    fn tell_leaving(&mut self, id: SessionId) {
        let Some(client) = self.clients.get(&id.0) else { return };
        let (r, place) = (client.member, client.place.clone());
        let keep_alive = self.settings.stream_timeout;
        let delay = self.wire.delay(&place, &self.members[r].config.host).unwrap_or(keep_alive);
        self.after_on(r, delay, move |w| drop(w.clients.remove(&id.0)));
    }

    fn close_client(&mut self, id: SessionId) {
        if let Some(client) = self.clients.get_mut(&id.0) {
            client.served = false;
            self.answer_client(id, None);
        }
    }

    fn clients_of(&self, r: usize) -> Vec<SessionId> {
        let life = self.members[r].pg.as_ref().map(|pg| pg.life);
        let served = self
            .clients
            .iter()
            .filter(|(_, client)| client.served && client.member == r && Some(client.life) == life);
        served.map(|(id, _)| SessionId(*id)).collect()
    }

    /// The processes end: their kernel closes what they had open.
    pub fn close_clients_of(&mut self, r: usize) {
        self.clients_of(r).into_iter().for_each(|id| self.close_client(id));
    }

    /// A fast stop ends every session, those that wait too.
    pub fn end_all_sessions(&mut self, r: usize) {
        self.close_clients_of(r);
        self.drop_commits(r);
    }

    /// Ends client sessions but those that wait in the commit (R11). One that is about to wait
    /// finds that it was ended, and commits without an answer.
    pub fn end_client_sessions(&mut self, r: usize) -> u32 {
        let mut ended = 0;
        for id in self.clients_of(r) {
            let Some(pg) = self.pg(r) else { break };
            if pg.waiting.iter().any(|commit| commit.session == Some(id)) {
                continue;
            }
            for commit in pg.commits.iter_mut().filter(|commit| commit.session == Some(id)) {
                let holds_row = pg.row == Some(id);
                commit.local = true;
                commit.then = Box::new(move |w, _| {
                    if holds_row {
                        w.unlock_row(r);
                    }
                });
            }
            self.close_client(id);
            ended += 1;
        }
        ended
    }
}
