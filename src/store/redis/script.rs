//! The scripts of `migrations/`: all that is rare and must happen at once.

use redis::{Script, ScriptInvocation};

use crate::session::Timestamp;

/// Every script, known to the server by its hash; loaded where the server does not know it (any
/// more).
pub(super) struct Scripts {
    pub(super) replace: Script,
    pub(super) swap: Script,
    pub(super) claim: Script,
    pub(super) settle: Script,
    pub(super) cut_off: Script,
    pub(super) forget_cut_offs: Script,
    pub(super) rule: Script,
    pub(super) schema: Script,
    pub(super) renew: Script,
    pub(super) postpone: Script,
    pub(super) withdraw: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            replace: Script::new(include_str!("../../../migrations/0001_replace.lua")),
            swap: Script::new(include_str!("../../../migrations/0012_swap.lua")),
            claim: Script::new(include_str!("../../../migrations/0003_claim.lua")),
            settle: Script::new(include_str!("../../../migrations/0004_settle.lua")),
            cut_off: Script::new(include_str!("../../../migrations/0009_cut_off.lua")),
            forget_cut_offs: Script::new(include_str!(
                "../../../migrations/0010_forget_cut_offs.lua"
            )),
            rule: Script::new(include_str!("../../../migrations/0011_rule.lua")),
            schema: Script::new(include_str!("../../../migrations/0006_schema.lua")),
            renew: Script::new(include_str!("../../../migrations/0007_renew.lua")),
            postpone: Script::new(include_str!("../../../migrations/0008_postpone.lua")),
            withdraw: Script::new(include_str!("../../../migrations/0013_withdraw.lua")),
        }
    }
}

/// A record that is to take the place of another.
pub(super) struct Replacement<'a> {
    pub(super) key: &'a [u8],
    /// The record as it was read.
    pub(super) expected: &'a [u8],
    /// The key's expiry as it was read, where activity in between makes a difference.
    pub(super) expected_expiry: Option<Timestamp>,
    pub(super) record: &'a [u8],
    pub(super) expiry: Timestamp,
    /// Where others are told, and what.
    pub(super) channel: &'a [u8],
    pub(super) message: &'a [u8],
}

impl Replacement<'_> {
    /// The call that replaces the record, and answers 0 where it was not the one that was read any
    /// more.
    pub(super) fn call<'a>(&self, scripts: &'a Scripts) -> ScriptInvocation<'a> {
        let expected_expiry = self
            .expected_expiry
            .map_or_else(String::new, |at| at.as_millis().to_string());
        let mut call = scripts.replace.key(self.key);
        call.arg(self.expected)
            .arg(expected_expiry)
            .arg(self.record)
            .arg(self.expiry.as_millis())
            .arg(self.channel)
            .arg(self.message);
        call
    }
}
