//! The part of the report about streams: network connections that outlive their request.

use std::fmt::Write;

use serde::Serialize;

use super::{ComplianceStatus, format_duration, result_text, status_name};
use crate::policy::{Policies, StreamActivity};

/// The controls of NIST SP 800-53 (revision 5) about network connections.
const CONTROLS: [(&str, &str); 2] = [
    ("SC-10", "a network connection ends with its session"),
    (
        "AC-12",
        "sessions end after conditions that the organisation defines",
    ),
];

/// The result for streams.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// The hosts whose requests Curfew forwards, so that it ends their streams.
    pub forwarded_hosts: Vec<String>,
    /// Sentences about the streams of each policy.
    pub facts: Vec<String>,
    /// The result for each control.
    pub findings: Vec<StreamFinding>,
}

/// The result for one control.
#[derive(Clone, Debug, Serialize)]
pub struct StreamFinding {
    /// The name of the control in NIST SP 800-53.
    pub control: &'static str,
    /// What the control requires.
    pub requirement: &'static str,
    /// `met` for the streams that Curfew forwards; `not_verified` if it forwards none.
    pub status: &'static str,
}

impl StreamReport {
    pub(super) fn new(policies: &Policies, forwarded_hosts: &[String]) -> Self {
        let status = match forwarded_hosts.is_empty() {
            true => ComplianceStatus::NotVerified,
            false => ComplianceStatus::Met,
        };
        let facts = policies.iter().map(|(name, policy)| {
            let streams = &policy.streams;
            let activity = match (streams.activity, streams.heartbeats.is_empty()) {
                (StreamActivity::Off, _) => "Nothing inside a stream is activity",
                (StreamActivity::ClientData, true) => "All data of a client is activity",
                (StreamActivity::ClientData, false) => {
                    "Data of a client is activity, except the listed heartbeats"
                }
            };
            format!(
                "Policy `{name}`: {activity}. While Curfew cannot learn about session ends, a stream stays open for at most \
                 {}, and never after its last known limit.",
                format_duration(streams.grace)
            )
        });
        Self {
            forwarded_hosts: forwarded_hosts.to_vec(),
            facts: facts.collect(),
            findings: CONTROLS
                .map(|(control, requirement)| StreamFinding {
                    control,
                    requirement,
                    status: status_name(status),
                })
                .to_vec(),
        }
    }

    /// Returns the section of the report.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = "\n## Streams\n\nA stream is a connection that stays open, such as a WebSocket or an event stream.\n\n".to_owned();
        if self.forwarded_hosts.is_empty() {
            text += "* Curfew forwards no requests. A stream that a proxy forwards stays open after the end of its session.\n";
        } else {
            let hosts = self.forwarded_hosts.join(", ");
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "* Curfew ends the streams that it forwards, for {hosts}. This configuration does not show whether a proxy sends \
                 all streams to Curfew; `curfew probe --stream` tests this."
            );
            for fact in &self.facts {
                let _ = writeln!(text, "* {fact}");
            }
        }
        text += "\n| standard | control | requirement | result |\n|---|---|---|---|\n";
        for finding in &self.findings {
            let scope = match finding.status {
                "met" => " for the streams that Curfew forwards",
                _ => "",
            };
            let _ = writeln!(
                text,
                "| NIST SP 800-53 (revision 5) | {} | {} | {}{scope} |",
                finding.control,
                finding.requirement,
                result_text(finding.status)
            );
        }
        text
    }
}
