use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge};

use super::Registrar;

/// Histogram buckets for the delay of invalidations, in seconds.
const DELAY_BUCKETS_SECONDS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
];

/// Metrics of the near cache: the verified records in the memory of this replica.
#[derive(Debug)]
pub struct NearCacheMetrics {
    /// Checks answered from the near cache.
    pub hits: IntCounter,
    /// Records loaded from the store although the near cache was usable.
    pub misses: IntCounter,
    /// Records loaded from the store because the near cache was not usable.
    pub bypassed: IntCounter,
    /// How often the near cache was emptied.
    pub flushes: IntCounter,
    /// Records in the near cache.
    pub entries: IntGauge,
    /// 1 if the near cache is usable, otherwise 0.
    pub usable: IntGauge,
    /// Delay between a session end on any replica and its invalidation on this replica, in seconds.
    pub end_delay: Histogram,
}

impl NearCacheMetrics {
    /// Creates all metrics at zero.
    ///
    /// # Errors
    /// [`prometheus::Error`] if two metrics have the same name. A test makes sure that this does not happen.
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            hits: registrar.counter(
                "curfew_near_cache_hits_total",
                "Checks answered from the near cache.",
            )?,
            misses: registrar.counter(
                "curfew_near_cache_misses_total",
                "Sessions loaded from the store while the near cache was usable.",
            )?,
            bypassed: registrar.counter(
                "curfew_near_cache_bypassed_total",
                "Sessions loaded from the store while the near cache was not usable.",
            )?,
            flushes: registrar.counter(
                "curfew_near_cache_flushes_total",
                "Flushes of the near cache after a possibly missed invalidation.",
            )?,
            entries: registrar.gauge("curfew_near_cache_entries", "Sessions in the near cache.")?,
            usable: registrar.gauge(
                "curfew_near_cache_usable",
                "Whether the near cache is usable. It is usable while all invalidations arrive.",
            )?,
            end_delay: registrar.register(Histogram::with_opts(
                HistogramOpts::new(
                    "curfew_near_cache_end_delay_seconds",
                    "Delay between a session end on any replica and its invalidation on this replica.",
                )
                .buckets(DELAY_BUCKETS_SECONDS.to_vec()),
            )?)?,
        })
    }
}
