use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

use super::metrics::register;

/// Buckets for how late an end is heard of, in seconds: from a network's own time to what can't be.
const SECONDS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
];

/// What the near cache does.
#[derive(Debug)]
pub struct NearCacheMetrics {
    /// Records that were recalled.
    pub hits: IntCounter,
    /// Records that were loaded although they might have been recalled.
    pub misses: IntCounter,
    /// Records that were loaded because nothing could be recalled at the time.
    pub bypassed: IntCounter,
    /// How often everything was forgotten.
    pub flushes: IntCounter,
    /// How many records there are.
    pub entries: IntGauge,
    /// Whether records can be recalled.
    pub usable: IntGauge,
    /// How late ends were heard of, in seconds.
    pub end_delay: Histogram,
}

impl NearCacheMetrics {
    /// All of them at zero.
    ///
    /// # Errors
    /// [`prometheus::Error`] when two metrics share a name, which a test rules out.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| register(registry, IntCounter::new(name, help)?);
        let gauge = |name, help| register(registry, IntGauge::new(name, help)?);
        Ok(Self {
            hits: counter(
                "curfew_near_cache_hits_total",
                "Checks answered by a session that was loaded a moment ago.",
            )?,
            misses: counter(
                "curfew_near_cache_misses_total",
                "Sessions that were loaded while the near cache could be used.",
            )?,
            bypassed: counter(
                "curfew_near_cache_bypassed_total",
                "Sessions that were loaded while the near cache could not be used.",
            )?,
            flushes: counter(
                "curfew_near_cache_flushes_total",
                "How often the near cache was emptied because an end might have been missed.",
            )?,
            entries: gauge("curfew_near_cache_entries", "Sessions in the near cache.")?,
            usable: gauge(
                "curfew_near_cache_usable",
                "Whether the near cache can be used: all that others end is heard.",
            )?,
            end_delay: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "curfew_near_cache_end_delay_seconds",
                        "How long it took until an end was heard of, by this and other processes.",
                    )
                    .buckets(SECONDS.to_vec()),
                )?,
            )?,
        })
    }
}
