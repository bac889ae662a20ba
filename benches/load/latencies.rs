use std::time::Duration;

use serde_json::{Value, json};

#[derive(Default)]
pub struct Latencies {
    micros: Vec<u32>,
    pub seconds: f64,
}

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.micros.push(micros);
    }

    pub fn merge(mut all: Vec<Self>, seconds: f64) -> Self {
        let mut micros: Vec<u32> = all
            .iter_mut()
            .flat_map(|one| one.micros.drain(..))
            .collect();
        micros.sort_unstable();
        Self { micros, seconds }
    }

    /// Returns the number of requests per second, and the percentiles of the latency in microseconds.
    pub fn to_json(&self) -> Value {
        let percentile = |share: f64| {
            let position = (self.micros.len() as f64 * share) as usize;
            self.micros
                .get(position.min(self.micros.len().saturating_sub(1)))
        };
        json!({
            "requests": self.micros.len(),
            "rps": self.micros.len() as f64 / self.seconds,
            "p50_us": percentile(0.5),
            "p99_us": percentile(0.99),
            "p999_us": percentile(0.999),
            "max_us": self.micros.last(),
        })
    }
}
