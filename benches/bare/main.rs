//! Servers that do no work, with the system's allocator. `scripts/bench.sh` compares them with the servers of `load`,
//! which use Curfew's allocator.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed measurement stops the program"
)]

#[path = "../load/bare.rs"]
mod bare;

fn main() {
    let args = std::env::args().skip(1).filter(|word| word != "--bench");
    let args: Vec<String> = args.collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let serving = async {
        match *args {
            ["bare-http", at] => bare::http(at.parse().unwrap()).await,
            ["bare-grpc", at] => bare::grpc(at.parse().unwrap()).await,
            // `cargo bench` without a filter runs this binary without arguments. Then there is nothing to do.
            [] => {}
            _ => panic!("usage: bare-http ADDRESS, bare-grpc ADDRESS"),
        }
    };
    curfew::cli::build_runtime().unwrap().block_on(serving);
}
