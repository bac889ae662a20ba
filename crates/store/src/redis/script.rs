//! The scripts of `migrations/`: all that is rare and must happen at once.

use redis::{Script, ScriptInvocation};

use crate::session::Timestamp;

/// The texts of the Lua scripts, as `migrations/` has them.
#[derive(Clone, Copy, Debug)]
pub struct ScriptTexts {
    /// Replaces a record, if it still is what was read.
    pub replace: &'static str,
    /// Replaces a value, if it still is what was read.
    pub swap: &'static str,
    /// Claims due sessions from the deadline queue.
    pub claim: &'static str,
    /// Takes an ended session out of the deadline queue.
    pub settle: &'static str,
    /// Adds a cut-off for a subject.
    pub cut_off: &'static str,
    /// Removes old cut-offs.
    pub forget_cut_offs: &'static str,
    /// Adds a revocation rule.
    pub rule: &'static str,
    /// Moves the version of the records forward.
    pub schema: &'static str,
    /// Extends the time of a lock.
    pub renew: &'static str,
    /// Moves a session in the deadline queue.
    pub postpone: &'static str,
    /// Removes a record that no client has seen.
    pub withdraw: &'static str,
}

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
    pub(super) fn new(texts: &ScriptTexts) -> Self {
        Self {
            replace: Script::new(texts.replace),
            swap: Script::new(texts.swap),
            claim: Script::new(texts.claim),
            settle: Script::new(texts.settle),
            cut_off: Script::new(texts.cut_off),
            forget_cut_offs: Script::new(texts.forget_cut_offs),
            rule: Script::new(texts.rule),
            schema: Script::new(texts.schema),
            renew: Script::new(texts.renew),
            postpone: Script::new(texts.postpone),
            withdraw: Script::new(texts.withdraw),
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
