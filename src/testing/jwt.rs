//! A token issuer as a source of sessions.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::jwt::KeySet;
use crate::jwks::{FetchError, FetchKeys, Freshness, IssuerKeys};
use crate::session::PolicyName;
use crate::sources::JwtSource;
use crate::telemetry::Metrics;

pub(crate) use curfew_core::testing::jwt::*;

/// Returns a source for the issuer with these keys.
pub(crate) fn jwt_source(keys: &[&SigningKey], policy: Option<PolicyName>) -> JwtSource {
    JwtSource {
        issuer: issuer(),
        keys: IssuerKeys::from_static(key_set(keys)),
        policy,
    }
}

/// Returns issuer keys that can never be fetched.
pub(crate) fn keys_that_cannot_be_fetched(
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Arc<IssuerKeys> {
    struct FailingFetch;

    #[async_trait::async_trait]
    impl FetchKeys for FailingFetch {
        async fn fetch(&self) -> Result<KeySet, FetchError> {
            Err(FetchError::TooLarge)
        }
    }

    IssuerKeys::start_fetching(
        FailingFetch,
        Freshness {
            refresh_interval: Duration::from_secs(300),
            max_age: Duration::from_secs(600),
        },
        Arc::clone(clock),
        Arc::clone(metrics),
        "main".to_owned(),
    )
}
