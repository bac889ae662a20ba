//! The programs for `scripts/bench.sh`: load generators, and servers that do no work, for comparison.
//!
//! This crate contains only the parts that must be fast. The scripts in `scripts/bench/` compare the results.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed measurement stops the program"
)]

mod bare;
mod grpc;
mod http;
mod latencies;
mod seed;
mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use latencies::Latencies;
use tokens::Tokens;

const USAGE: &str = "load bare-http ADDRESS
load bare-grpc ADDRESS
load seed ADMIN-ADDRESS ADMIN-TOKEN SESSIONS FILE
load http ADDRESS FILE SECONDS CONNECTIONS RATE
load http-count ADDRESS FILE REQUESTS
load grpc ADDRESS FILE SECONDS CONNECTIONS STREAMS
load grpc-count ADDRESS FILE REQUESTS";

/// The same allocator as in the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .expect("the TLS provider should be installed only once");
    // Cargo passes `--bench` to every benchmark.
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seconds = |text: &str| {
        Duration::from_secs_f64(text.parse().expect("a time should be a number of seconds"))
    };
    let number = |text: &str| {
        text.parse::<usize>()
            .expect("a count should be a whole number")
    };
    let address = |text: &str| {
        text.parse::<SocketAddr>()
            .expect("an address should have the form IP:PORT")
    };
    let done = async {
        match *words {
            ["bare-http", at] => bare::http(address(at)).await,
            ["bare-grpc", at] => bare::grpc(address(at)).await,
            ["seed", at, token, count, file] => seed::run(at, token, number(count), file).await,
            ["http", at, file, time, connections, rate] => {
                let rate = rate.parse().expect("a rate should be a number");
                let load = http::Load {
                    address: address(at),
                    connections: number(connections),
                    rate,
                };
                print(load.run(Tokens::read(file), seconds(time)).await);
            }
            ["http-count", at, file, count] => {
                http::count(address(at), &Tokens::read(file), number(count)).await;
            }
            ["grpc", at, file, time, connections, streams] => {
                let load = grpc::Load {
                    address: address(at),
                    connections: number(connections),
                    streams: number(streams),
                };
                print(load.run(Tokens::read(file), seconds(time)).await);
            }
            ["grpc-count", at, file, count] => {
                grpc::count(address(at), &Tokens::read(file), number(count)).await;
            }
            // `cargo bench` without a filter runs this binary without arguments.
            [] => {}
            _ => panic!("usage:\n{USAGE}"),
        }
    };
    runtime().block_on(done);
}

/// The same runtime as in the service.
fn runtime() -> tokio::runtime::Runtime {
    curfew::cli::runtime().expect("the runtime should start")
}

fn print(latencies: Latencies) {
    println!("{}", latencies.json());
}
