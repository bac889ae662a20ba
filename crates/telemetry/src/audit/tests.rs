//! Compares every kind of event with the tables of `docs/observability.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::actor::{Actor, ActorKind};
use crate::credential::jwt::LogoutTarget;
use crate::denials::AggregatedDenials;
use crate::events::SessionEnded;
use crate::revocation::{RevocationConditions, RevocationRule};
use crate::session::{DenyReason, EndReason, SessionId, Subject};
use crate::testing::{START, session_of};

const DOCS: &str = include_str!("../../../../docs/observability.md");

/// An event: its level, the names of its fields, and the values that are set.
struct WrittenEvent {
    level: String,
    fields: BTreeSet<String>,
    values: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct CaptureLayer(Arc<Mutex<Vec<WrittenEvent>>>);

struct ValueVisitor<'a>(&'a mut BTreeMap<String, String>);

impl Visit for ValueVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for CaptureLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let names = event.metadata().fields().iter();
        let names = names.map(|field| field.name().to_owned());
        let mut values = BTreeMap::new();
        event.record(&mut ValueVisitor(&mut values));
        self.0.lock().push(WrittenEvent {
            level: event.metadata().level().to_string().to_lowercase(),
            fields: names.filter(|name| name != "message").collect(),
            values,
        });
    }
}

/// Writes one event of every kind and level.
fn write_all_events() -> Vec<WrittenEvent> {
    let capture = CaptureLayer::default();
    let subscriber = tracing_subscriber::registry().with(capture.clone());
    tracing::subscriber::with_default(subscriber, || {
        let id = SessionId::from_bytes([7; 16]);
        let address = "203.0.113.7".parse().ok();
        let subject = Subject::new("alice").unwrap();
        let actor = Actor::new(ActorKind::AdminToken, "ops", address);
        let mut session = session_of("alice", START);
        session_created(id, &session, &actor);
        session_degraded(id, &session, "auth-request", address);
        session_aged(id, &session, std::time::Duration::from_secs(60), &actor);
        session_binding_mismatch(id, &session, "address", address);
        session.end(EndReason::Revoked, START);
        session_ended(
            &SessionEnded::new(id, &session, &actor, false).unwrap(),
            &actor,
        );
        session_end_restored(id, &session);
        session_displaced(id, &subject, id, &actor);
        subject_revoked(&subject, START, &actor);
        let rule = RevocationRule {
            conditions: RevocationConditions::default(),
            before: START,
        };
        revocation_declared(&rule, &actor);
        revocation_finished(&rule, 1, true, &actor);
        let target = LogoutTarget {
            name: Subject::of_provider(id),
            is_single_session: true,
            subject: Some(subject.clone()),
        };
        provider_logout(&target, "back-channel", 1, &actor);
        provider_refused(id, &session, "main", "invalid_grant", &actor);
        session_changed(id, &session, &session, &actor);
        login_refused("main", "refused", &"no", &actor);
        console_entered(Some("main"), &actor);
        console_refused("not_in_group", Some(&subject), Some("main"), &actor);
        access_refused("wrong_credential", "GET", "/api/v1/policies", &actor);
        admin_allowed("list", None, &actor);
        admin_refused("list", None, &actor);
        recording_started("later", &actor);
        recording_used("read", &actor);
        policy_changed("SessionPolicy crm/app", "17", "deleted");
        stream_cut(&CutStream {
            session: id,
            subject: "alice",
            kind: "websocket",
            host: "app.example.com:8443",
            path: b"/events",
            address,
            reason: DenyReason::Revoked,
            open_time: std::time::Duration::from_secs(1),
            bytes: (1, 2),
        });
        let denied = DeniedRequest {
            contract: "auth-request",
            session: Some(id),
            subject: Some("alice"),
            address,
            host: Some("app.example.com:8443"),
            path: Some(b"/orders"),
            method: Some("GET"),
            rule: Some(1),
            peer: address,
            detail: Some("x"),
        };
        let aggregated = AggregatedDenials {
            count: 3,
            first: START,
            last: START,
            contract: "auth-request",
            host: Some("app.example.com:8443".to_owned()),
            peer: address,
        };
        for reason in [DenyReason::IdleTimeout, DenyReason::NoCredential] {
            session_denied(&denied, reason);
            denials_aggregated(&aggregated, reason, true);
        }
    });
    std::mem::take(&mut capture.0.lock())
}

/// Returns the rows of the table below a heading, each with its cells.
fn table_rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = DOCS.split_once(heading).expect(heading);
    let lines = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Returns the names in a cell: the texts in backticks.
fn names_in_cell(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_event_has_the_fields_of_the_documentation() {
    let fields = table_rows("### Fields of audit events");
    let always: BTreeSet<String> = fields
        .iter()
        .filter(|row| row[1] == "all")
        .flat_map(|row| names_in_cell(row[0]))
        .collect();
    assert_eq!(always.len(), 5, "{always:?}");
    let documented: BTreeSet<String> = fields
        .iter()
        .flat_map(|row| names_in_cell(row[0]))
        .collect();
    let mut events = BTreeMap::new();
    for row in table_rows("### Audit events") {
        let own = names_in_cell(row[3]);
        for action in names_in_cell(row[0]) {
            let all: BTreeSet<String> = own.union(&always).cloned().collect();
            let previous = events.insert(action, (row[1], row[2], all));
            assert!(previous.is_none(), "the event has two rows: {row:?}");
        }
    }
    let (mut written_actions, mut used_fields) = (BTreeSet::new(), BTreeSet::new());
    for event in write_all_events() {
        let action = &event.values["event.action"];
        let (levels, outcome, expected) = events.get(action).expect(action);
        assert_eq!(&event.fields, expected, "{action}");
        assert!(
            levels.split(", ").any(|level| level == event.level),
            "{action} {}",
            event.level
        );
        assert_eq!(&event.values["event.outcome"], outcome, "{action}");
        used_fields.extend(event.fields.iter().cloned());
        written_actions.insert(action.clone());
    }
    let kinds = AuditAction::ALL.map(|action| action.as_str().to_owned());
    assert_eq!(
        written_actions,
        BTreeSet::from(kinds),
        "this test should write an event of every kind"
    );
    assert_eq!(
        written_actions,
        events.into_keys().collect(),
        "the documentation should list exactly the events of the code"
    );
    assert_eq!(
        used_fields, documented,
        "the documentation should list exactly the fields of the events"
    );
}

#[test]
fn every_kind_of_actor_is_documented() {
    let documented: BTreeSet<String> = table_rows("### Actors")
        .iter()
        .flat_map(|row| names_in_cell(row[0]))
        .collect();
    let kinds = ActorKind::ALL.map(|kind| kind.as_str().to_owned());
    assert_eq!(documented, BTreeSet::from(kinds));
}

#[test]
fn an_event_has_the_actor_the_action_and_the_address() {
    let events = write_all_events();
    let values_of = |action: &str| {
        &events
            .iter()
            .find(|event| event.values["event.action"] == action)
            .unwrap()
            .values
    };
    let created = values_of("session.created");
    for (field, value) in [
        ("event.outcome", "success"),
        ("user.id", "alice"),
        ("curfew.actor.kind", "admin_token"),
        ("curfew.actor.name", "ops"),
        ("source.ip", "203.0.113.7"),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    assert_eq!(values_of("session.degraded")["source.ip"], "203.0.113.7");
    assert_eq!(values_of("session.aged")["curfew.session.aged_by"], "1m");
    let denied = values_of("session.denied");
    for (field, value) in [
        ("event.reason", "idle_timeout"),
        ("url.domain", "app.example.com"),
        ("url.path", "/orders"),
        ("http.request.method", "GET"),
        ("curfew.actor.kind", "user"),
        ("source.ip", "203.0.113.7"),
    ] {
        assert_eq!(denied[field], value, "{field}");
    }
    assert!(
        !values_of("denials.aggregated").contains_key("source.ip"),
        "the aggregated event should not contain the address of one client"
    );
}
