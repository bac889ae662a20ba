//! The Lua scripts that Redis runs, embedded from `migrations/`.

use crate::store::redis::ScriptTexts;

/// The scripts of this version.
pub const SCRIPTS: ScriptTexts = ScriptTexts {
    replace: include_str!("../migrations/0001_replace.lua"),
    swap: include_str!("../migrations/0012_swap.lua"),
    claim: include_str!("../migrations/0003_claim.lua"),
    acknowledge: include_str!("../migrations/0004_acknowledge.lua"),
    cut_off: include_str!("../migrations/0009_cut_off.lua"),
    forget_cut_offs: include_str!("../migrations/0010_forget_cut_offs.lua"),
    rule: include_str!("../migrations/0011_rule.lua"),
    schema: include_str!("../migrations/0006_schema.lua"),
    renew: include_str!("../migrations/0007_renew.lua"),
    postpone: include_str!("../migrations/0008_postpone.lua"),
    withdraw: include_str!("../migrations/0013_withdraw.lua"),
};
