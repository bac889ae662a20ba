//! Servers that do nothing, as they are without an allocator of their own. `scripts/bench.sh` runs
//! them beside those of `load`, which have Curfew's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that fails stops"
)]

#[path = "../load/bare.rs"]
mod bare;

fn main() {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let serving = async {
        match *words {
            ["bare-http", at] => bare::http(at.parse().unwrap()).await,
            ["bare-grpc", at] => bare::grpc(at.parse().unwrap()).await,
            // `cargo bench` of everything.
            [] => {}
            _ => panic!("usage: bare-http ADDRESS, bare-grpc ADDRESS"),
        }
    };
    curfew::cli::runtime().unwrap().block_on(serving);
}
