//! Requests over HTTP: admission, the call, the answer.
//!
//! The order of the checks is the contract's: a guarded request is refused before anybody learns whether its body can be
//! read or its channel exists.

use std::net::IpAddr;

use ::http::StatusCode;
use bytes::BytesMut;

use super::Shard;
use super::clients::{Wishes, is_wanted};
use super::surveys::{Change, Purpose};
use crate::action::Actions;
use crate::admission::{Credentials, TokenHash, client_address};
use crate::catalogue::{Channel, Command, Entry, Outcome, Removal};
use crate::event::Event;
use crate::id::{ChannelId, ConnId};
use crate::metrics::{CONTENT_TYPE, Counter, Limit, Metrics};
use crate::peer::{Tally, Verdict};
use crate::rest::{self, Answer, Call, ChannelView, Cors, CreateChannel, Problem, Rendering};
use crate::session::{Listing, Phase, Request, Session, Step};
use crate::time::Time;
use crate::wire::handshake::{self, Outcome as Handshake};
use crate::wire::http::{self, Head, Terms};

/// Seconds after which a client may try again where a limit was reached.
pub(super) const RETRY_AFTER: u64 = 1;
/// How often an id that is taken is drawn again. With a million channels of the default length an id is taken once in
/// four thousand draws.
const ID_ATTEMPTS: u32 = 16;
/// A list goes on when less than this is unsent, in bytes.
const LIST_LOW_WATER: usize = 64 << 10;

impl Shard {
    /// Reads up to one request: how many bytes were used up, 0 when more are needed.
    pub(super) fn read_request(&mut self, now: Time, session: &mut Session, bytes: &[u8], out: &mut Actions) -> usize {
        let (used, step) = session.next_request(now, bytes, &self.http_limits);
        match step {
            Step::More => {}
            Step::Continue => {
                session.owes_from(now);
                self.send(session, bytes::Bytes::from_static(http::CONTINUE), out);
            }
            Step::Request(request) => self.request(now, session, *request, out),
            Step::Refused(fault) => {
                self.count_fault(now, session.from, fault, out);
                session.cors = Cors::Silent;
                self.answer_problem(now, session, Terms::UNREADABLE, fault.into(), out);
            }
        }
        used
    }

    fn count_fault(&mut self, now: Time, from: IpAddr, fault: http::HttpFault, out: &mut Actions) {
        let status = fault.status();
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => self.limit_reached(now, Limit::BodySize, out),
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                self.limit_reached(now, Limit::HeaderSize, out);
            }
            _ => {}
        }
        self.router.metrics.add(Counter::HttpFaults, 1);
        self.report(Event::HttpFault { from, status: status.as_u16(), why: fault.detail() }, out);
    }

    fn request(&mut self, now: Time, session: &mut Session, request: Request, out: &mut Actions) {
        let Request { head, body } = request;
        let mut terms = Terms::of(&head);
        if let Err(fault) = body {
            self.count_fault(now, session.from, fault, out);
        }
        if body.is_err() || self.is_draining() {
            terms = terms.closing();
        }
        match self.call(now, session, &head, &body, terms, out) {
            Ok(Some(answer)) => self.answer(now, session, terms, &answer, out),
            Ok(None) => {}
            Err(problem) => self.answer_problem(now, session, terms, problem, out),
        }
    }

    /// Checks a request and does what it asks for. `None`: the answer comes later.
    fn call(
        &mut self,
        now: Time,
        session: &mut Session,
        head: &Head,
        body: &Result<bytes::Bytes, http::HttpFault>,
        terms: Terms,
        out: &mut Actions,
    ) -> Result<Option<Answer>, Problem> {
        session.cors = Cors::Silent;
        session.cors = rest::check_origin(head, &self.config.cors_origins, self.resources)?;
        self.check_api_token(head, body.as_deref().unwrap_or_default())?;
        let call = self.resources.call(&head.method, &head.target)?;
        if let Err(fault) = body {
            return Err((*fault).into());
        }
        let body = body.as_deref().unwrap_or_default();
        let conn = session.conn;
        let from = self.address_of(session.from, head);
        if call.is_about_channels() && !self.is_serving(now) {
            return Err(Problem::unavailable("This node hears no leader of its cluster now.", RETRY_AFTER));
        }
        match call {
            Call::CreateChannel => {
                rest::check_content_type(&head.headers)?;
                let wanted = CreateChannel::from_body(body)?;
                self.create(conn, terms, from, &wanted, out)?;
            }
            Call::BrowserCreate => {
                let wanted = CreateChannel::from_query(head.target.query())?;
                self.create(conn, terms, from, &wanted, out)?;
            }
            Call::ListChannels { after, limit } => self.list(now, session, terms, after, limit, out),
            Call::GetChannel(id) => {
                self.channel(id)?;
                self.survey(Purpose::Get { conn, terms }, vec![id], out);
            }
            Call::DeleteChannel(id) | Call::BrowserDelete(id) => {
                self.channel(id)?;
                let command = Command::Delete { id, why: Removal::Deleted };
                self.propose(Change::Delete { conn, terms }, command, None, out);
            }
            Call::Connect(id) => {
                let asked = self.connect(session, head, id, terms, from, out);
                if let Err(problem) = &asked {
                    self.count_refusal(session, problem.status, out);
                }
                asked?;
                self.limit_wait(now);
            }
            Call::Reset => self.propose(Change::Reset { conn, terms }, Command::Reset, None, out),
            Call::Metrics => self.measure(conn, terms, out),
            Call::Cluster | Call::Readyz | Call::Join { .. } | Call::RemoveNode(_) | Call::Recover => {
                let (about, what) = self.operation(&call)?;
                self.ask_control(conn, terms, about, what, out);
            }
            call => return self.answer_at_once(call, head, session).map(Some),
        }
        Ok(None)
    }

    /// The calls whose answers this shard has at hand.
    fn answer_at_once(&self, call: Call, head: &Head, session: &Session) -> Result<Answer, Problem> {
        Ok(match call {
            Call::Page(page) => self.pages.get(page).into(),
            Call::DocsAsset(name) => match self.pages.docs_asset(&name) {
                Some(asset) => asset.into(),
                None => return Err(Problem::not_found("There is no such file.")),
            },
            Call::Healthz => Answer::message("Success: the node lives."),
            Call::Options(allow) => rest::options(allow, head, &session.cors),
            Call::CreateChannel
            | Call::BrowserCreate
            | Call::ListChannels { .. }
            | Call::GetChannel(_)
            | Call::DeleteChannel(_)
            | Call::BrowserDelete(_)
            | Call::Connect(_)
            | Call::Reset
            | Call::Metrics
            | Call::Cluster
            | Call::Readyz
            | Call::Join { .. }
            | Call::RemoveNode(_)
            | Call::Recover => return Err(Problem::not_found("There is no such resource.")),
        })
    }

    /// The rules of `WRS_AUTH_RESOURCES`: one of them covers one of the things that the request does, so one of its
    /// tokens must be the API's.
    fn check_api_token(&self, head: &Head, body: &[u8]) -> Result<(), Problem> {
        let Some(auth) = &self.config.auth else { return Ok(()) };
        if rest::is_preflight(head) {
            return Ok(());
        }
        let deeds = rest::guarded_as(&head.method, head.target.path(), self.resources);
        if !deeds.iter().any(|(method, path)| auth.rules.guards(method, path)) {
            return Ok(());
        }
        let mut credentials = Credentials::of(head.target.query(), &head.headers);
        credentials.add_body(body);
        if credentials.open_api(&auth.token) {
            return Ok(());
        }
        Err(Problem::unauthorized("This resource needs the API token."))
    }

    fn address_of(&self, peer: IpAddr, head: &Head) -> IpAddr {
        if self.config.trusted_proxies.is_empty() {
            return peer;
        }
        let forwarded = head.headers.get_all("x-forwarded-for").iter().map(|value| value.as_bytes());
        client_address(peer, forwarded, &self.config.trusted_proxies)
    }

    fn channel(&self, id: ChannelId) -> Result<&Entry, Problem> {
        self.catalogue.get(id).ok_or(Problem::not_found("There is no such channel."))
    }

    fn create(
        &mut self,
        conn: ConnId,
        terms: Terms,
        from: IpAddr,
        wanted: &CreateChannel,
        out: &mut Actions,
    ) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(Problem::unavailable("The node is draining.", RETRY_AFTER));
        }
        let token = self.random.hex(self.config.token_length);
        let channel = Channel {
            pattern: wanted.pattern,
            client_limit: wanted.client_limit,
            timeout_ms: wanted.timeout_ms,
            token: TokenHash::of(&token),
        };
        self.propose_channel(conn, terms, channel, token, 1, Some(from), out);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a proposal must remember")]
    fn propose_channel(
        &mut self,
        conn: ConnId,
        terms: Terms,
        channel: Channel,
        token: String,
        attempts: u32,
        from: Option<IpAddr>,
        out: &mut Actions,
    ) {
        let id = ChannelId::from_bits(self.random.bits128(), self.config.id_length);
        let command = Command::Create { id, channel: channel.clone() };
        self.propose(Change::Create { conn, terms, channel, id, token, attempts }, command, from, out);
    }

    /// A change has been made on every shard, or certainly not: whoever wanted it is told.
    pub(super) fn answer_change(&mut self, now: Time, change: Change, outcome: Outcome, out: &mut Actions) {
        let limit = |what: &'static str| Problem::unavailable(what, RETRY_AFTER);
        let (change, outcome) = match (change.asker(), outcome) {
            (Some((conn, terms)), Outcome::NoLeader) => {
                let problem = limit("The cluster has no leader now: nothing was changed.");
                return self.answer_later(now, conn, terms, Err(problem), out);
            }
            (Some((conn, terms)), Outcome::Unknown) => {
                let detail = "The cluster has not said what became of it: it may have been done or not.";
                let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, detail);
                return self.answer_later(now, conn, terms, Err(problem), out);
            }
            _ => (change, outcome),
        };
        let (conn, terms, answer) = match (change, outcome) {
            (Change::Expire(id), Outcome::NoLeader | Outcome::Unknown) => return self.expire_later(now, id),
            (Change::Expire(_), _) => return,
            (Change::Create { conn, terms, channel, id, token, .. }, Outcome::Created) => {
                let tally = Tally { clients: 0, active: now };
                let view = view(now, id, &channel, tally);
                (conn, terms, Ok(Answer::created(&view, &token, self.rendering())))
            }
            (Change::Create { conn, terms, channel, token, attempts, .. }, Outcome::Taken) => {
                if attempts < ID_ATTEMPTS {
                    return self.propose_channel(conn, terms, channel, token, attempts + 1, None, out);
                }
                (conn, terms, Err(limit("Nearly every id of this length is taken.")))
            }
            (Change::Create { conn, terms, .. }, Outcome::TooOften) => {
                let detail = "This address creates channels faster than it may.";
                (conn, terms, Err(Problem::too_many(detail, RETRY_AFTER)))
            }
            (Change::Create { conn, terms, .. }, _) => {
                (conn, terms, Err(limit("There are as many channels as there may be.")))
            }
            (Change::Delete { conn, terms }, Outcome::Deleted) => {
                (conn, terms, Ok(Answer::message("Success: the channel was deleted.")))
            }
            (Change::Delete { conn, terms }, _) => (conn, terms, Err(Problem::not_found("There is no such channel."))),
            (Change::Reset { conn, terms }, _) => {
                (conn, terms, Ok(Answer::message("Success: every channel was deleted.")))
            }
        };
        self.answer_later(now, conn, terms, answer, out);
    }

    /// The survey for `GET /channels/{id}` is complete.
    pub(super) fn answer_get(
        &mut self,
        now: Time,
        conn: ConnId,
        terms: Terms,
        id: ChannelId,
        tally: Tally,
        out: &mut Actions,
    ) {
        let answer =
            self.channel(id).map(|entry| Answer::channel(&view(now, id, &entry.channel, tally), self.rendering()));
        self.answer_later(now, conn, terms, answer, out);
    }

    /// All shards have told their figures.
    pub(super) fn answer_metrics(&mut self, now: Time, conn: ConnId, terms: Terms, sum: &Metrics, out: &mut Actions) {
        let mut text = String::new();
        sum.write(&mut text);
        let answer = Answer::body(CONTENT_TYPE, text.into());
        self.answer_later(now, conn, terms, Ok(answer), out);
    }

    pub(super) fn answer_later(
        &mut self,
        now: Time,
        conn: ConnId,
        terms: Terms,
        answer: Result<Answer, Problem>,
        out: &mut Actions,
    ) {
        let Some(mut session) = self.sessions.take(conn) else { return };
        match answer {
            Ok(answer) => self.answer(now, &mut session, terms, &answer, out),
            Err(problem) => self.answer_problem(now, &mut session, terms, problem, out),
        }
        self.go_on(now, &mut session, out);
        self.put_back(session);
    }

    fn answer_problem(&mut self, now: Time, session: &mut Session, terms: Terms, problem: Problem, out: &mut Actions) {
        self.answer(now, session, terms, &problem.answer(), out);
    }

    /// Answers the request that is open. The caller goes on with what waits behind it.
    fn answer(&mut self, now: Time, session: &mut Session, terms: Terms, answer: &Answer, out: &mut Actions) {
        self.router.metrics.answered(answer.status.as_u16());
        let mut bytes = BytesMut::new();
        let terms = if self.is_draining() { terms.closing() } else { terms };
        answer.encode(terms, &session.cors, &mut bytes);
        session.owes_from(now);
        self.send(session, bytes.freeze(), out);
        if terms.keep_alive {
            session.answered(now);
        } else {
            self.finish(now, session, out);
        }
    }

    /// A head or body took too long.
    pub(super) fn answer_late(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        session.cors = Cors::Silent;
        let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "The request took too long to arrive.");
        self.answer_problem(now, session, session.late_terms(), problem, out);
    }

    /// The checks of the contract in their order; then a seat is asked for.
    fn connect(
        &mut self,
        session: &mut Session,
        head: &Head,
        id: ChannelId,
        terms: Terms,
        from: IpAddr,
        out: &mut Actions,
    ) -> Result<(), Problem> {
        let entry = self.channel(id)?;
        if !Credentials::of(head.target.query(), &head.headers).open_channel(&entry.channel.token) {
            return Err(Problem::unauthorized("This channel needs its token."));
        }
        let upgrade = match handshake::parse(&head.method, head.version, &head.headers, self.config.deflate) {
            Handshake::Upgrade(upgrade) => upgrade,
            Handshake::NotUpgrade => return Err(Problem::upgrade_required("This is a WebSocket: ask for an upgrade.")),
            Handshake::BadVersion => return Err(Problem::upgrade_required("Only version 13 of WebSocket is spoken.")),
            Handshake::Bad(why) => return Err(Problem::bad_request(format!("The handshake is wrong: {why}."))),
        };
        if let Some(origin) = head.headers.get(::http::header::ORIGIN)
            && !origin.to_str().is_ok_and(|origin| self.config.allowed_origins.allows(origin))
        {
            return Err(Problem::forbidden("Pages of this origin may not connect."));
        }
        if self.is_draining() {
            return Err(Problem::unavailable("The node is draining.", RETRY_AFTER));
        }
        let query = head.target.query();
        let wishes = Wishes {
            from,
            terms,
            accept: upgrade.accept,
            protocol: handshake::choose_subprotocol(&upgrade.subprotocols).map(str::to_owned),
            deflate: upgrade.deflate,
            echo: is_wanted(query.first("echo")),
            pull: is_wanted(query.first("pull")),
        };
        let slot = self.place(id).ok_or(Problem::not_found("There is no such channel."))?;
        self.join(session, id, slot, wishes, out);
        Ok(())
    }

    /// A client that asked for a seat gets none. The caller puts the session back.
    pub(super) fn turn_away(
        &mut self,
        now: Time,
        session: &mut Session,
        terms: Terms,
        verdict: Verdict,
        out: &mut Actions,
    ) {
        let (limit, problem) = match verdict {
            Verdict::NodeFull => {
                (Some(Limit::Clients), Problem::unavailable("The node has as many clients as it may.", RETRY_AFTER))
            }
            Verdict::ChannelFull => (
                Some(Limit::ChannelClients),
                Problem::too_many("The channel has as many clients as it may.", RETRY_AFTER),
            ),
            Verdict::AddressFull => (
                Some(Limit::ClientsPerAddress),
                Problem::too_many("This address has as many clients as it may.", RETRY_AFTER),
            ),
            Verdict::Undecided => (None, Problem::unavailable("The channel's home may not decide now.", RETRY_AFTER)),
            Verdict::Absent | Verdict::Seated => (None, Problem::not_found("There is no such channel.")),
        };
        if let Some(limit) = limit {
            self.limit_reached(now, limit, out);
        }
        self.count_refusal(session, problem.status, out);
        self.answer_problem(now, session, terms, problem, out);
        self.go_on(now, session, out);
    }

    fn count_refusal(&mut self, session: &Session, status: StatusCode, out: &mut Actions) {
        self.router.metrics.refused(status.as_u16());
        self.report(Event::ClientRefused { from: session.from, status: status.as_u16() }, out);
    }

    /// Begins a list, which then goes on as its reader takes it.
    fn list(
        &mut self,
        now: Time,
        session: &mut Session,
        terms: Terms,
        after: Option<ChannelId>,
        limit: Option<u32>,
        out: &mut Actions,
    ) {
        let terms = if self.is_draining() { terms.closing() } else { terms };
        self.router.metrics.answered(200);
        let mut bytes = BytesMut::new();
        let stream = rest::begin_list(terms, &session.cors, &mut bytes);
        let mut piece = BytesMut::new();
        rest::put_list_begin(&mut piece);
        stream.piece(&mut bytes, &piece);
        session.owes_from(now);
        self.send(session, bytes.freeze(), out);
        let left = limit.map_or(u64::MAX, u64::from);
        let listing = Listing { after, left: if stream.is_silent() { 0 } else { left }, first: true, stream };
        session.phase = Phase::Listing(Box::new(listing), false);
        // The first piece is made in answer to `Flushed`, as all others are.
    }

    /// The reader has taken something: asks for the next piece, or ends the list.
    pub(super) fn list_on(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        let Phase::Listing(listing, asked) = &mut session.phase else { return };
        if *asked || session.unsent >= LIST_LOW_WATER {
            return;
        }
        let take = listing.left.min(self.config.list_chunk as u64) as usize;
        let channels: Vec<ChannelId> = self.catalogue.range(listing.after).map(|(id, _)| id).take(take).collect();
        if !channels.is_empty() {
            *asked = true;
            let conn = session.conn;
            return self.survey(Purpose::List { conn }, channels, out);
        }
        let stream = listing.stream;
        session.owes_from(now);
        self.send_with(session, out, |bytes| {
            let mut piece = BytesMut::new();
            rest::put_list_end(&mut piece);
            stream.piece(bytes, &piece);
            stream.end(bytes);
        });
        if stream.closes() {
            self.finish(now, session, out);
        } else {
            session.answered(now);
            self.go_on(now, session, out);
        }
    }

    /// A piece of a list is complete.
    pub(super) fn list_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        channels: &[ChannelId],
        tallies: &[Tally],
        out: &mut Actions,
    ) {
        let Some(mut session) = self.sessions.take(conn) else { return };
        if let Phase::Listing(listing, asked) = &mut session.phase {
            *asked = false;
            let mut piece = BytesMut::new();
            for (id, tally) in channels.iter().zip(tallies) {
                // One that has gone meanwhile is left out.
                if let Some(entry) = self.catalogue.get(*id) {
                    let view = view(now, *id, &entry.channel, *tally);
                    rest::put_list_channel(&mut piece, std::mem::take(&mut listing.first), &view, self.rendering());
                }
            }
            listing.left = listing.left.saturating_sub(channels.len() as u64);
            listing.after = channels.last().copied().or(listing.after);
            let stream = listing.stream;
            if piece.is_empty() {
                self.list_on(now, &mut session, out);
            } else {
                session.owes_from(now);
                self.send_with(&mut session, out, |bytes| stream.piece(bytes, &piece));
            }
        }
        self.put_back(session);
    }

    fn rendering(&self) -> Rendering {
        Rendering { id_length: self.config.id_length, port: self.public_port }
    }
}

impl From<&crate::pages::Asset> for Answer {
    fn from(asset: &crate::pages::Asset) -> Answer {
        let mut answer = Answer::body(asset.content_type, asset.body.clone());
        // The body's type is written with its length.
        for (name, value) in asset.headers().filter(|(name, _)| *name != "Content-Type") {
            answer.fields.push((name, value.to_owned().into()));
        }
        answer
    }
}

fn view(now: Time, id: ChannelId, channel: &Channel, tally: Tally) -> ChannelView {
    let countdown_ms = channel.timeout_ms.map(|timeout| {
        let idle = u64::try_from(now.since(tally.active).as_millis()).unwrap_or(u64::MAX);
        timeout.saturating_sub(idle)
    });
    ChannelView {
        id,
        pattern: channel.pattern,
        timeout_ms: channel.timeout_ms,
        countdown_ms,
        client_limit: channel.client_limit,
        clients: tally.clients,
    }
}
