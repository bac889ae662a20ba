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
mod streams;
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
load proxied ADDRESS FILE SECONDS CONNECTIONS RATE
load proxied-count ADDRESS FILE REQUESTS
load stream-application ADDRESS
load stream-hold ADDRESS FILE STREAMS
load stream-relay ADDRESS FILE MESSAGES
load stream-cut ADMIN-ADDRESS ADMIN-TOKEN STREAMS ADDRESS...
load grpc ADDRESS FILE SECONDS CONNECTIONS STREAMS
load grpc-count ADDRESS FILE REQUESTS";

/// The allocator that the service uses, so that the measurements are comparable.
#[global_allocator]
static ALLOCATOR: curfew_allocator::MiMalloc = curfew_allocator::MiMalloc;

fn main() {
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .expect("the TLS provider should be installed only once");
    // Remove `--bench`, which Cargo passes to every benchmark.
    let args = std::env::args().skip(1).filter(|word| word != "--bench");
    let args: Vec<String> = args.collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let parse_seconds = |text: &str| {
        Duration::from_secs_f64(text.parse().expect("a time should be a number of seconds"))
    };
    let parse_count = |text: &str| {
        text.parse::<usize>()
            .expect("a count should be a whole number")
    };
    let parse_address = |text: &str| {
        text.parse::<SocketAddr>()
            .expect("an address should have the form IP:PORT")
    };
    let parse_kind = |text: &str| match text {
        "proxied" => http::RequestKind::Proxied,
        _ => http::RequestKind::Check,
    };
    let command = async {
        match *args {
            ["bare-http", at] => bare::http(parse_address(at)).await,
            ["bare-grpc", at] => bare::grpc(parse_address(at)).await,
            ["seed", at, token, count, file] => {
                seed::run(at, token, parse_count(count), file).await
            }
            [
                kind @ ("http" | "proxied"),
                at,
                file,
                time,
                connections,
                rate,
            ] => {
                let rate = rate.parse().expect("a rate should be a number");
                let load = http::Load {
                    address: parse_address(at),
                    connections: parse_count(connections),
                    rate,
                    kind: parse_kind(kind),
                };
                print(load.run(Tokens::read(file), parse_seconds(time)).await);
            }
            [kind @ ("http-count" | "proxied-count"), at, file, count] => {
                let kind = parse_kind(kind.trim_end_matches("-count"));
                let tokens = Tokens::read(file);
                let count = parse_count(count);
                print(http::send_requests(parse_address(at), kind, &tokens, count).await);
            }
            ["stream-application", at] => streams::application(parse_address(at)).await,
            ["stream-hold", at, file, count] => {
                streams::hold(parse_address(at), &Tokens::read(file), parse_count(count)).await;
            }
            ["stream-relay", at, file, count, window] => {
                let (count, window) = (parse_count(count), parse_count(window));
                streams::relay(parse_address(at), &Tokens::read(file), count, window).await;
            }
            ["stream-cut", admin, token, count, ref addresses @ ..] => {
                let addresses: Vec<_> = addresses.iter().map(|it| parse_address(it)).collect();
                print(streams::cut(admin, token, parse_count(count), &addresses).await);
            }
            ["grpc", at, file, time, connections, streams] => {
                let load = grpc::Load {
                    address: parse_address(at),
                    connections: parse_count(connections),
                    streams: parse_count(streams),
                };
                print(load.run(Tokens::read(file), parse_seconds(time)).await);
            }
            ["grpc-count", at, file, count] => {
                grpc::send_calls(parse_address(at), &Tokens::read(file), parse_count(count)).await;
            }
            // `cargo bench` without a filter runs this binary without arguments. Then there is nothing to do.
            [] => {}
            _ => panic!("usage:\n{USAGE}"),
        }
    };
    create_runtime().block_on(command);
}

/// Creates a Tokio runtime with the settings of the service.
fn create_runtime() -> tokio::runtime::Runtime {
    curfew::cli::build_runtime().expect("the runtime should start")
}

fn print(latencies: Latencies) {
    println!("{}", latencies.to_json());
}
