//! Compares the service with a simple model of it. Both run the same random history: sign-ins, requests with all kinds
//! of paths, session ends, changed rules and passing time. The model tries the rules in order, and reads a path only if
//! all parsers agree on the path. For each session, the model keeps the start, the last activity and the end.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::actor::Actor;
use crate::policy::model::first_match;
use crate::policy::{
    Access, Conditions, HostPattern, PathPattern, RequestTarget, Rule, RuleActivity, Terms,
};
use crate::testing::policy_name;

#[derive(Clone, Debug)]
enum Step {
    SignIn,
    Request {
        session: usize,
        host: usize,
        path: String,
        post: bool,
    },
    Revoke(usize),
    /// Replaces the rules with the rules at these indexes of [`all_rules`].
    Reload(Vec<usize>),
    AdvanceSeconds(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let path = "(/(open|%6fpen|poll|pay|admin|a|[.][.]|[.]|open;x|%2e%2e|a%2Fb|%5C)){1,3}/?";
    prop_oneof![
        1 => Just(Step::SignIn),
        8 => (any::<usize>(), 0..HOSTS.len(), path, any::<bool>()).prop_map(|(session, host, path, post)| Step::Request {
            session,
            host,
            path,
            post
        }),
        1 => any::<usize>().prop_map(Step::Revoke),
        1 => vec(0..all_rules().len(), 0..6).prop_map(Step::Reload),
        3 => (0..500_u32).prop_map(Step::AdvanceSeconds),
    ]
}

const HOSTS: [&str; 3] = ["app.example.com", "Shop.example.com:8443", "other.test"];

/// Returns rules with different terms. Together, the rules use every kind of host and path pattern.
fn all_rules() -> Vec<Rule> {
    let rule = |host: Option<&str>, paths: Vec<PathPattern>, terms: Terms| Rule {
        index: 0,
        conditions: Conditions {
            hosts: host
                .map(|host| HostPattern::parse(host).unwrap())
                .into_iter()
                .collect(),
            paths,
            ..Conditions::default()
        },
        terms,
    };
    let public = Terms {
        access: Access::Public,
        ..Terms::default()
    };
    let passive = Terms {
        activity: RuleActivity::Passive,
        ..Terms::default()
    };
    let with_policy = Terms {
        policy: Some(policy_name("strict")),
        ..Terms::default()
    };
    let with_group = |group: &str| Terms {
        groups: vec![group.to_owned()],
        ..Terms::default()
    };
    let prefix = |path: &str| vec![PathPattern::prefix(path).unwrap()];
    vec![
        rule(None, prefix("/open"), public.clone()),
        rule(
            Some("*.example.com"),
            vec![PathPattern::glob("/**/poll").unwrap()],
            passive.clone(),
        ),
        rule(
            Some("shop.example.com"),
            prefix("/pay"),
            with_policy.clone(),
        ),
        rule(None, prefix("/admin"), with_group("admin")),
        rule(None, prefix("/admin/a"), with_group("nobody")),
        rule(
            Some("app.example.com"),
            vec![PathPattern::Ambiguous],
            with_policy,
        ),
        rule(
            Some("other.test"),
            vec![PathPattern::exact("/a/").unwrap()],
            public,
        ),
        rule(Some("shop.example.com"), Vec::new(), passive),
    ]
}

/// A session of the model. All times are in milliseconds since the start.
struct ModelSession {
    token: String,
    id: SessionId,
    started: u128,
    last_seen: u128,
    ended: Option<DenyReason>,
}

/// The limits of `default` in milliseconds: idle, absolute.
const DEFAULT_LIMITS_MS: [u128; 2] = [15 * 60_000, 8 * 3_600_000];
/// The limits of `strict` in milliseconds: idle, absolute, and the maximum age of the sign-in.
const STRICT_LIMITS_MS: [u128; 3] = [5 * 60_000, 3_600_000, 30 * 60_000];

struct Model {
    sessions: Vec<ModelSession>,
    rules: Vec<Rule>,
    now: u128,
}

impl Model {
    fn expected_verdict(&mut self, session: usize, target: &RequestTarget<'_>) -> Verdict {
        let now = self.now;
        let Ok(found) = first_match(&self.rules, target) else {
            return deny(DenyReason::MalformedRequest);
        };
        let terms = found.map(|index| self.rules[index].terms.clone());
        let terms = terms.unwrap_or_default();
        if terms.access == Access::Public {
            return Verdict::Allow;
        }
        let Some(known) = self.sessions.get_mut(session) else {
            return deny(DenyReason::NoCredential);
        };
        if let Some(reason) = known.ended {
            return deny(reason);
        }
        let reached_limit = |[idle, absolute]: [u128; 2], known: &ModelSession| {
            if now - known.started >= absolute {
                Some(DenyReason::AbsoluteTimeout)
            } else {
                (now - known.last_seen >= idle).then_some(DenyReason::IdleTimeout)
            }
        };
        if let Some(reason) = reached_limit(DEFAULT_LIMITS_MS, known) {
            known.ended = Some(reason);
            return deny(reason);
        }
        let [idle, absolute, max_auth_age] = STRICT_LIMITS_MS;
        if terms.policy.is_some()
            && (reached_limit([idle, absolute], known).is_some()
                || now - known.started >= max_auth_age)
        {
            return deny(DenyReason::ReauthenticationRequired);
        }
        let groups = ["staff", "admin"];
        if !terms.groups.is_empty()
            && !terms
                .groups
                .iter()
                .any(|group| groups.contains(&group.as_str()))
        {
            return deny(DenyReason::Forbidden);
        }
        // With `strict`, a `GET` counts as activity only if it is a navigation. These requests are not navigations.
        let is_activity = terms.policy.is_none() || *target.method == Method::POST;
        if terms.activity == RuleActivity::Touch && is_activity {
            known.last_seen = now;
        }
        Verdict::Allow
    }
}

async fn run_history(steps: Vec<Step>) {
    let bench = TestService::new();
    let mut checker = bench.checker(Rules::default(), "session");
    let mut model = Model {
        sessions: Vec::new(),
        rules: Vec::new(),
        now: 0,
    };
    for step in steps {
        match step {
            Step::SignIn => {
                let started = bench.sign_in("default").await;
                model.sessions.push(ModelSession {
                    token: started.token.expose(),
                    id: started.id,
                    started: model.now,
                    last_seen: model.now,
                    ended: None,
                });
            }
            Step::AdvanceSeconds(seconds) => {
                model.now += u128::from(seconds) * 1000;
                bench.set_time_after_start(Duration::from_millis(model.now.try_into().unwrap()));
            }
            Step::Revoke(session) => {
                if model.sessions.is_empty() {
                    continue;
                }
                let known = session % model.sessions.len();
                let known = &mut model.sessions[known];
                bench
                    .lifecycle
                    .revoke(known.id, &Actor::CURFEW)
                    .await
                    .unwrap();
                known.ended.get_or_insert(DenyReason::Revoked);
            }
            Step::Reload(indexes) => {
                let all = all_rules();
                let indexes = indexes.into_iter().enumerate();
                model.rules = indexes
                    .map(|(index, rule)| Rule {
                        index,
                        ..all[rule].clone()
                    })
                    .collect();
                let rules = Rules::new(model.rules.clone(), Terms::default()).unwrap();
                checker.rulebook = Arc::new(bench.rulebook(rules));
            }
            Step::Request {
                session,
                host,
                path,
                post,
            } => {
                // The number after the last session stands for a request without a credential.
                let session = session % (model.sessions.len() + 1);
                let cookie = model
                    .sessions
                    .get(session)
                    .map(|known| format!("session={}", known.token));
                let header_lines: Vec<_> = cookie
                    .iter()
                    .map(|cookie| ("cookie", cookie.as_str()))
                    .collect();
                let method = if post { Method::POST } else { Method::GET };
                let url = OriginalUrl::from_parts(true, HOSTS[host].as_bytes(), path.as_bytes());
                let url = url.unwrap();
                let target = RequestTarget {
                    host: url.host,
                    path: url.path,
                    method: &method,
                    contract: Contract::AuthRequest,
                };
                let expected = model.expected_verdict(session, &target);
                let request = CheckRequest {
                    contract: Contract::AuthRequest,
                    policy: None,
                    original: Ok(Original::new(&method, url)),
                    headers: &headers(&header_lines),
                    address: ClientAddress::InHeader,
                    peer: None,
                };
                let verdict = checker.check(&request).await.verdict;
                assert_eq!(verdict, expected, "{} {path} at {}", url.host, model.now);
            }
        }
    }
    for known in &model.sessions {
        let stored = bench.load_record(known.id).await;
        let ended = match stored.state {
            State::Live => None,
            State::Ended(end) => Some(end.reason.denial()),
        };
        assert_eq!(ended, known.ended);
        let seen = stored.last_seen.since(START).as_millis();
        assert_eq!(seen, known.last_seen);
    }
}

proptest! {
    #[test]
    fn a_service_behaves_like_its_model(steps in vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(run_history(steps));
    }
}
