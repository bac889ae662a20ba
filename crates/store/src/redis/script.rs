//! The Lua scripts of `migrations/`, for rare changes that must be atomic.

use redis::{Script, ScriptInvocation};

use crate::session::Timestamp;

/// The texts of the Lua scripts in `migrations/`.
#[derive(Clone, Copy, Debug)]
pub struct ScriptTexts {
    /// Replaces a record if it is unchanged since the caller read it.
    pub replace: &'static str,
    /// Replaces the value of a key if it is unchanged since the caller read it. The expiry of the key does not change.
    pub swap: &'static str,
    /// Claims due sessions from the deadline queue.
    pub claim: &'static str,
    /// Takes an ended session out of the deadline queue.
    pub acknowledge: &'static str,
    /// Sets the cut-off of a subject.
    pub cut_off: &'static str,
    /// Removes old cut-offs.
    pub forget_cut_offs: &'static str,
    /// Adds an emergency revocation.
    pub rule: &'static str,
    /// Raises the schema version.
    pub schema: &'static str,
    /// Writes the expiry of a session again without a change. `WAIT` covers only the writes of its own connection, so a
    /// write must precede it there.
    pub renew: &'static str,
    /// Changes the due time of a session in the deadline queue.
    pub postpone: &'static str,
    /// Removes the record of a session that no client has received.
    pub withdraw: &'static str,
}

/// The scripts. Curfew calls a script with its hash. If the server has no script with this hash, Curfew loads the
/// script.
pub(super) struct Scripts {
    pub(super) replace: Script,
    pub(super) swap: Script,
    pub(super) claim: Script,
    pub(super) acknowledge: Script,
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
            acknowledge: Script::new(texts.acknowledge),
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

/// The arguments of `0001_replace.lua`.
pub(super) struct Replacement<'a> {
    pub(super) key: &'a [u8],
    /// The bytes of the record when it was read.
    pub(super) expected: &'a [u8],
    /// The expiry of the record when it was read. If this is set, a later touch prevents the replacement.
    pub(super) expected_expiry: Option<Timestamp>,
    pub(super) record: &'a [u8],
    pub(super) expiry: Timestamp,
    /// The channel for invalidations, and the message to publish.
    pub(super) channel: &'a [u8],
    pub(super) message: &'a [u8],
}

impl Replacement<'_> {
    /// Returns the call of the script. The reply is 0 if the record has changed since it was read.
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
