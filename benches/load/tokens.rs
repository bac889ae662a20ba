use std::sync::atomic::{AtomicUsize, Ordering};

/// Tokens in the order in which the load generator sends them. After the last token, the load generator starts again
/// with the first.
pub struct Tokens {
    all: Vec<String>,
    next: AtomicUsize,
}

impl Tokens {
    pub fn read(file: &str) -> Self {
        let text =
            std::fs::read_to_string(file).expect("the file with the tokens should be readable");
        Self {
            all: text.lines().map(str::to_owned).collect(),
            next: AtomicUsize::new(0),
        }
    }

    pub fn next(&self) -> &str {
        &self.all[self.next.fetch_add(1, Ordering::Relaxed) % self.all.len()]
    }
}

/// A generator of random positions with a Zipf distribution (exponent 1). Each run has the same sequence.
pub struct Zipf {
    cumulative: Vec<f64>,
    state: u64,
}

impl Zipf {
    pub fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| 1.0 / rank as f64);
        let cumulative = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self {
            cumulative: cumulative.collect(),
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    pub fn next(&mut self) -> usize {
        // This is the generator xorshift64.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let last = self.cumulative.last().copied().unwrap_or_default();
        let point = (self.state >> 11) as f64 / (1_u64 << 53) as f64 * last;
        let position = self.cumulative.partition_point(|sum| *sum < point);
        position.min(self.cumulative.len() - 1)
    }
}
