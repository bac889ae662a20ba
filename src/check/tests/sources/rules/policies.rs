//! The statements about policies and rules.

use super::super::source_fixture::RequestOptions;
use super::*;
use crate::policy::{BindSettings, Conditions, NetworkBits, PathPattern, Terms, Variant};

const REAUTHENTICATION_REQUIRED: Verdict = denied(DenyReason::ReauthenticationRequired);

pub(super) async fn binding(kind: SourceKind) -> &'static str {
    let bits = NetworkBits { ipv4: 24, ipv6: 64 };
    let bind = BindSettings {
        network: Some(bits),
        user_agent: false,
    };
    let fixture = SourceFixture::with(kind, |policy| policy.bind = bind, Rules::default()).await;
    let signed_in = session_in_use(&fixture).await;
    let mismatch = RequestOptions {
        from: "198.51.100.7",
        ..RequestOptions::default()
    };
    let found = fixture.check_with(&signed_in, 2 * MINUTE, &mismatch).await;
    cell_text(
        found.verdict == REAUTHENTICATION_REQUIRED
            && fixture.verdict(&signed_in, 2 * MINUTE).await == ALLOW,
    )
}

/// Tests whether an idle limit of five minutes applies, if it is set for members of `staff`.
async fn idle_variant_cell(kind: SourceKind, groups: Option<Vec<&'static str>>) -> &'static str {
    let variant = |policy: &mut crate::policy::Policy| {
        let mut limits = policy.limits;
        limits.idle = Some(5 * MINUTE);
        policy.variants = vec![Variant {
            groups: vec!["staff".to_owned()],
            limits,
        }];
    };
    let mut fixture = SourceFixture::with(kind, variant, Rules::default()).await;
    fixture.groups = groups;
    let signed_in = session_in_use(&fixture).await;
    cell_text(fixture.verdict(&signed_in, 6 * MINUTE).await == IDLE_TIMEOUT)
}

pub(super) async fn group_variant(kind: SourceKind) -> &'static str {
    assert_eq!(
        idle_variant_cell(kind, Some(Vec::new())).await,
        NO,
        "a person without groups must not get the variant"
    );
    idle_variant_cell(kind, Some(vec!["staff"])).await
}

pub(super) async fn unknown_groups(kind: SourceKind) -> &'static str {
    match kind {
        // These sources cannot say that the groups are unknown.
        SourceKind::Token | SourceKind::DelegatedWithoutTime => NOT_APPLICABLE,
        _ => idle_variant_cell(kind, None).await,
    }
}

pub(super) async fn stricter_policy(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let strict = RequestOptions {
        policy: Some("strict"),
        ..RequestOptions::default()
    };
    let found = fixture.check_with(&signed_in, 7 * MINUTE, &strict).await;
    cell_text(
        found.verdict == REAUTHENTICATION_REQUIRED
            && fixture.verdict(&signed_in, 7 * MINUTE).await == ALLOW,
    )
}

/// The policy `strict` needs a sign-in in the last 30 minutes.
pub(super) async fn max_auth_age(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = fixture.sign_in(1, Duration::ZERO).await;
    let strict = RequestOptions {
        policy: Some("strict"),
        ..RequestOptions::default()
    };
    for minutes in (3..30).step_by(3) {
        let found = fixture
            .check_with(&signed_in, minutes * MINUTE, &strict)
            .await;
        assert_eq!(found.verdict, ALLOW, "{kind:?}");
    }
    match fixture
        .check_with(&signed_in, 30 * MINUTE, &strict)
        .await
        .verdict
    {
        REAUTHENTICATION_REQUIRED => YES,
        ALLOW => {
            let later = fixture.check_with(&signed_in, 33 * MINUTE, &strict).await;
            assert_eq!(later.verdict, REAUTHENTICATION_REQUIRED);
            FROM_FIRST_REQUEST
        }
        _ => NO,
    }
}

pub(super) async fn passive_request(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let passive = RequestOptions {
        passive: true,
        ..RequestOptions::default()
    };
    let polled = fixture.check_with(&signed_in, 10 * MINUTE, &passive).await;
    assert_eq!(polled.verdict, ALLOW);
    cell_text(fixture.verdict(&signed_in, 16 * MINUTE).await == IDLE_TIMEOUT)
}

pub(super) async fn rule_with_groups(kind: SourceKind) -> &'static str {
    let rule = crate::policy::Rule {
        index: 0,
        conditions: Conditions {
            paths: vec![PathPattern::prefix("/admin").unwrap()],
            ..Conditions::default()
        },
        terms: Terms {
            groups: vec!["staff".to_owned()],
            ..Terms::default()
        },
    };
    let mut found = Vec::new();
    for groups in [vec!["staff"], vec!["guests"]] {
        let rules = Rules::new(vec![rule.clone()], Terms::default()).unwrap();
        let mut fixture = SourceFixture::with(kind, |_| {}, rules).await;
        fixture.groups = Some(groups);
        let signed_in = session_in_use(&fixture).await;
        let options = RequestOptions {
            path: "/admin/x",
            ..RequestOptions::default()
        };
        found.push(
            fixture
                .check_with(&signed_in, 2 * MINUTE, &options)
                .await
                .verdict,
        );
    }
    cell_text(found == [ALLOW, denied(DenyReason::Forbidden)])
}

pub(super) async fn shorter_policy(kind: SourceKind) -> &'static str {
    let mut fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    fixture.change_policy(|policy| policy.limits.idle = Some(5 * MINUTE));
    cell_text(fixture.verdict(&signed_in, 6 * MINUTE).await == IDLE_TIMEOUT)
}

pub(super) async fn longer_policy(kind: SourceKind) -> &'static str {
    let mut fixture = SourceFixture::new(kind).await;
    let signed_in = fixture.sign_in(1, Duration::ZERO).await;
    let id = fixture.live_session_id(&signed_in, Duration::ZERO).await;
    fixture.change_policy(|policy| policy.limits.absolute = 100 * HOUR);
    for minutes in (10..480).step_by(10) {
        assert_eq!(
            fixture.live_session_id(&signed_in, minutes * MINUTE).await,
            id
        );
    }
    cell_text(fixture.verdict(&signed_in, 8 * HOUR).await == ABSOLUTE_TIMEOUT)
}
