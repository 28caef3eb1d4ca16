//! The account of one request: an audit line when it is judged and one when it ends, however it ends, and the metrics that
//! go with them.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use sandgate_policy::Addition;
use sandgate_policy::destination::Destination;
use tokio::time::Instant;

use crate::audit::{Kind, LoggedPath, Record, Verdict, WholePath};
use crate::engine::{Engine, Inbound};
use crate::exchange::Exchange;
use crate::link::Busy;
use crate::refusal::{Code, Refusal};
use crate::upstream::Channel;

/// Writes what is known of a request. Dropped before its end, it says that the client went away.
pub struct Ledger(Option<Box<Account>>);

struct Account {
    engine: Arc<Engine>,
    record: Record,
    started: Instant,
    decided: bool,
    _busy: Busy,
}

impl Ledger {
    /// Opens the account of a request whose head has just been read.
    pub fn open(engine: &Arc<Engine>, inbound: &Inbound, head: &Parts) -> Self {
        let mut record = Record::new(Kind::Decision, inbound.connection, Verdict::Denied);
        record.request = Some(engine.numbers.request());
        record.method = Some(head.method.clone());
        record.path = Some(LoggedPath::of(head.uri.path()));
        record.whole_path = head.uri.path_and_query().cloned().map(WholePath);
        Self(Some(Box::new(Account {
            engine: Arc::clone(engine),
            record,
            started: Instant::now(),
            decided: false,
            _busy: inbound.link.begin(),
        })))
    }

    /// When the request's head had been read.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |account| account.started)
    }

    /// Notes where the request goes.
    pub fn goes_to(&mut self, destination: &Destination) {
        if let Some(account) = &mut self.0 {
            account.record = account.record.clone().to(destination);
        }
    }

    /// Notes the verdict that lets the request through, and writes its line. `code` is what the policy would have
    /// refused it with, in audit mode, and `addition` what would allow it.
    pub fn admit(&mut self, rule: Option<Arc<str>>, code: Option<Code>, addition: Option<Arc<Addition>>) {
        let Some(account) = &mut self.0 else { return };
        account.record.rule = rule;
        account.record.addition = addition;
        account.record.code = code;
        account.record.verdict = if code.is_some() { Verdict::Audited } else { Verdict::Allowed };
        account.decide();
    }

    /// Notes that the policy refuses the request; the refusal itself follows.
    pub fn ruled_by(&mut self, rule: Option<Arc<str>>) {
        if let Some(account) = &mut self.0 {
            account.record.rule = rule;
        }
    }

    /// Notes where the request is sent, and how long it waited for the connection.
    pub fn sent_over(&mut self, channel: &Channel, connect: Duration) {
        if let Some(account) = &mut self.0 {
            account.record.leads_to(channel.peer());
            account.record.connect = Some(connect);
            account.engine.metrics.upstream_connected(connect);
        }
    }

    /// Notes the response's head.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(account) = &mut self.0 {
            account.record.status = Some(status);
            account.record.first_byte = Some(account.started.elapsed());
        }
    }

    /// Ends the account of a refused request: with the decision, or after an admitted one could not be served. An address
    /// is judged only when it is dialled, so that verdict takes the place of the one before.
    pub fn refuse(&mut self, refusal: &Refusal) {
        let Some(mut account) = self.0.take() else { return };
        account.record.status = Some(refusal.code.status());
        account.record.addition.clone_from(&refusal.addition);
        account.record.message = refusal.of_the_way();
        if !account.decided {
            account.record.code = Some(refusal.code);
            account.decide();
            return;
        }
        if judges_address(refusal.code) {
            account.record.verdict = Verdict::Denied;
            account.engine.metrics.decided(Verdict::Denied, Some(refusal.code));
        }
        account.end(None, Some(refusal.code));
    }

    /// Ends the account of a request that was answered. `code` says what broke it off.
    pub fn close(mut self, exchange: &Exchange, code: Option<Code>) {
        if let Some(account) = self.0.take() {
            account.end(Some(exchange), code);
        }
    }

    /// Ends the account of an upgraded stream.
    pub fn close_relay(mut self, ended: crate::relay::Ended) {
        if let Some(mut account) = self.0.take() {
            account.record.kind = Kind::TunnelEnd;
            account.record.bytes_up = Some(ended.bytes_up);
            account.record.bytes_down = Some(ended.bytes_down);
            account.end(None, ended.code);
        }
    }

    /// Gives the account to whoever outlives this call; this one is empty then.
    pub fn hand_over(&mut self) -> Self {
        Self(self.0.take())
    }
}

impl Account {
    fn decide(&mut self) {
        self.decided = true;
        self.engine.metrics.decided(self.record.verdict, self.record.code);
        self.engine.audit.record(self.record.clone());
    }

    fn end(mut self, exchange: Option<&Exchange>, code: Option<Code>) {
        if self.record.kind == Kind::Decision {
            self.record.kind = Kind::Request;
        }
        if let Some((up, down)) = exchange.map(Exchange::bytes) {
            self.record.bytes_up = Some(up);
            self.record.bytes_down = Some(down);
        }
        self.record.code = code.or(self.record.code);
        let took = self.started.elapsed();
        self.record.total = Some(took);
        if let (Some(scheme), Some(status)) = (self.record.scheme, self.record.status) {
            self.engine.metrics.request_finished(scheme, status, took);
        }
        self.engine.audit.record(self.record);
    }
}

/// Whether the verdict of a request is taken back by `code`.
fn judges_address(code: Code) -> bool {
    matches!(
        code,
        Code::MetadataAddress
            | Code::OwnAddress
            | Code::AddressNotAllowed
            | Code::ProxyLoop
            | Code::LiteralThroughProxy
    )
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(mut account) = self.0.take() {
            account.record.status.get_or_insert(Code::ClientClosed.status());
            account.end(None, Some(Code::ClientClosed));
        }
    }
}
