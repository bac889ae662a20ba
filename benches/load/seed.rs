use std::fmt::Write;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};

use crate::tokens::Zipf;

/// The number of sessions that are started at the same time.
const MAX_CONCURRENT_STARTS: usize = 64;
/// The minimum number of tokens in the file.
const MIN_TOKEN_LINES: usize = 200_000;

/// Starts sessions, and writes their tokens to a file, in the order in which the load generator sends them. Some
/// tokens occur often, because some users send many requests.
pub async fn run(admin: &str, token: &str, count: usize, file: &str) {
    let client = reqwest::Client::new();
    let started = stream::iter(0..count).map(async |number| {
        let subject = format!("user-{number}@example.com");
        let body = json!({
            "subject": subject,
            "attributes": { "email": [subject], "groups": ["staff", "orders"] },
        });
        let url = format!("http://{admin}/api/v1/sessions");
        let request = client.post(url).bearer_auth(token).json(&body);
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let started: Value = response.json().await.unwrap();
        started["token"].as_str().unwrap().to_owned()
    });
    let tokens: Vec<String> = started.buffered(MAX_CONCURRENT_STARTS).collect().await;
    let mut zipf = Zipf::new(count);
    let mut text = String::new();
    for _ in 0..MIN_TOKEN_LINES.max(count) {
        writeln!(text, "{}", tokens[zipf.next()]).unwrap();
    }
    std::fs::write(file, text).unwrap();
}
