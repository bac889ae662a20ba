//! Tracks how far a replica has read the cut-offs in Redis. The set of cut-offs also contains a log of its latest
//! changes, and a replica normally reads only this log. But at its start and after a gap in the log, the replica reads
//! the whole set in pages. This module does no I/O.

use crate::cut_offs::{CutOffs, SubjectKey};
use crate::session::Timestamp;

/// The score of a revocation rule is this base plus the time of the rule. `migrations/0011_rule.lua` adds these rules.
pub(in crate::redis) const RULE_SCORE_BASE: u64 = 1 << 51;
/// The score of a logged change is this base plus the sequence number of the change.
pub(in crate::redis) const LOG_SCORE_BASE: u64 = 1 << 52;
/// The epoch of a set is this base plus a random number below 2^32. The epoch shows whether Redis has lost the set and
/// a replica has created another one.
pub(in crate::redis) const EPOCH_BASE: u64 = 1 << 50;
/// Maximum number of entries in one reply, so that no Redis command takes long.
pub(in crate::redis) const PAGE_ENTRIES: usize = 1000;

/// A member of the set with its score.
pub(in crate::redis) type Member = (Vec<u8>, u64);

/// A change in the log.
struct Change {
    /// The sequence number.
    number: u64,
    /// The sequence number of the previous change.
    previous: u64,
    /// The new cut-off. `None` for a change of the revocation rules, because every read fetches all revocation rules.
    cut_off: Option<(SubjectKey, Timestamp)>,
}

impl Change {
    /// Parses an entry of the log. Returns `None` if the format is unknown.
    fn parse((member, score): &Member) -> Option<Self> {
        let number = score.checked_sub(LOG_SCORE_BASE)?;
        let digits = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
        let cut_off = member.split_first_chunk::<16>().and_then(|(name, rest)| {
            let colon = memchr::memchr(b':', rest)?;
            let (at, previous) = (digits(&rest[..colon])?, digits(&rest[colon + 1..])?);
            Some((previous, (*name, Timestamp::from_millis(at))))
        });
        if let Some((previous, cut_off)) = cut_off {
            return Some(Self {
                number,
                previous,
                cut_off: Some(cut_off),
            });
        }
        let previous = digits(member.strip_prefix(b"rules:")?)?;
        Some(Self {
            number,
            previous,
            cut_off: None,
        })
    }
}

/// The head of a set: the sequence number of its last change, and its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::redis) struct Head {
    /// The sequence number of the last change; 0 if there was no change.
    pub(in crate::redis) last: u64,
    /// The epoch. `None` if only the previous version of Curfew, which writes no epoch, has written the set.
    pub(in crate::redis) epoch: Option<u64>,
}

/// How far a replica has read the set.
#[derive(Debug, Default)]
pub(in crate::redis) struct ReadProgress {
    /// The epoch of the set that was read.
    epoch: Option<u64>,
    /// The sequence number of the last change that was read. `None` before the first reply.
    last_read: Option<u64>,
    /// The next page of the whole set, while a full read is in progress.
    page: Option<PageRequest>,
    /// Whether the full read must restart, because the replica has missed changes since the read began.
    restart_read: bool,
    /// Whether the revocation rules may have changed since the caller last reset this flag.
    pub(in crate::redis) rules_changed: bool,
    /// How many full reads were completed.
    pub(in crate::redis) full_reads: u64,
}

/// A page of the whole set: `size` members with at least the score `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct PageRequest {
    pub(in crate::redis) from: u64,
    pub(in crate::redis) size: usize,
}

const FIRST_PAGE: PageRequest = PageRequest {
    from: 0,
    size: PAGE_ENTRIES,
};

impl ReadProgress {
    /// Returns the lowest score of the log entries to read next.
    pub(in crate::redis) fn next_log_score(&self) -> u64 {
        LOG_SCORE_BASE + self.last_read.map_or(0, |number| number + 1)
    }

    /// Returns the next page of the whole set to read.
    pub(in crate::redis) const fn next_page(&self) -> Option<PageRequest> {
        self.page
    }

    /// Returns the sequence number of the last change that was read, or `None` while an earlier change is missing.
    pub(in crate::redis) fn complete_up_to(&self) -> Option<u64> {
        self.last_read.filter(|_| self.page.is_none())
    }

    /// Forces a full read, because the store may have lost data.
    pub(in crate::redis) fn reset(&mut self) {
        self.last_read = None;
        self.page = None;
        self.restart_read = false;
    }

    /// Processes the head of the set, and the log entries that were read after the head. Returns whether these
    /// entries reach the end of the log.
    pub(in crate::redis) fn apply_changes(
        &mut self,
        head: Head,
        log: &[Member],
        table: &CutOffs,
    ) -> bool {
        let last = head.last;
        let previous_epoch = std::mem::replace(&mut self.epoch, head.epoch);
        // A set has no epoch before its first change. So the first epoch of an empty set does not mean that another set
        // has replaced it.
        let is_same_set =
            previous_epoch == head.epoch || (previous_epoch.is_none() && self.last_read == Some(0));
        let Some(mut number) = self.last_read else {
            self.last_read = Some(last);
            self.page = (last > 0).then_some(FIRST_PAGE);
            return true;
        };
        // The counter only grows. A smaller counter or another epoch means that Redis lost changes.
        let has_lost_changes = last < number || !is_same_set;
        let mut has_gap = has_lost_changes;
        for change in log {
            let Some(change) = Change::parse(change) else {
                has_gap = true;
                continue;
            };
            has_gap |= change.previous != number;
            number = change.number;
            match change.cut_off {
                Some((name, at)) => table.raise(name, at),
                None => self.rules_changed = true,
            }
        }
        let reaches_end = log.len() < PAGE_ENTRIES;
        // A replica of the previous version counts its changes but does not log them. So the log can end before the
        // last change.
        has_gap |= reaches_end && number < last;
        self.last_read = Some(match (has_lost_changes, reaches_end) {
            (true, _) => last,
            (false, true) => number.max(last),
            (false, false) => number,
        });
        if has_gap {
            match self.page {
                Some(_) => self.restart_read = true,
                None => self.page = Some(FIRST_PAGE),
            }
        }
        reaches_end
    }

    /// Processes a page of the whole set.
    pub(in crate::redis) fn apply_page(
        &mut self,
        request: PageRequest,
        members: &[Member],
        table: &CutOffs,
    ) {
        for (member, score) in members {
            if let Ok(name) = SubjectKey::try_from(member.as_slice()) {
                table.raise(name, Timestamp::from_millis(*score));
            }
        }
        let last = members.last().map(|(_, score)| *score);
        self.page = match last {
            Some(last) if members.len() >= request.size => Some(if last > request.from {
                PageRequest {
                    from: last,
                    size: PAGE_ENTRIES,
                }
            } else {
                // All members of the page have the same score. The next page starts at this score again, so it must
                // be larger to contain members with a greater score.
                PageRequest {
                    from: last,
                    size: request.size * 2,
                }
            }),
            _ => {
                self.full_reads += 1;
                self.rules_changed = true;
                std::mem::take(&mut self.restart_read).then_some(FIRST_PAGE)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut_offs::subject_key;
    use crate::session::Subject;

    fn alice() -> Subject {
        Subject::new("alice").unwrap()
    }

    fn logged(number: u64, previous: u64, at: u64) -> Member {
        let text = format!("{at}:{previous}");
        let member = [&subject_key(&alice())[..], text.as_bytes()].concat();
        (member, LOG_SCORE_BASE + number)
    }

    fn head(last: u64) -> Head {
        Head {
            last,
            epoch: Some(EPOCH_BASE),
        }
    }

    #[test]
    fn reads_the_whole_set_after_a_gap_in_the_log() {
        let (table, mut progress) = (CutOffs::new(10), ReadProgress::default());
        assert!(progress.apply_changes(Head::default(), &[], &table));
        assert_eq!(
            (progress.next_page(), progress.complete_up_to()),
            (None, Some(0))
        );
        progress.apply_changes(head(9), &[logged(5, 0, 1), logged(9, 5, 2)], &table);
        assert_eq!(
            (progress.next_page(), progress.complete_up_to()),
            (None, Some(9))
        );
        assert_eq!(table.for_subject(&alice()), Some(Timestamp::from_millis(2)));
        // A replica of the previous version counted a change, and did not log it.
        progress.apply_changes(head(12), &[], &table);
        assert_eq!(
            (progress.next_page(), progress.complete_up_to()),
            (Some(FIRST_PAGE), None)
        );
        assert_eq!(progress.next_log_score(), LOG_SCORE_BASE + 13);
        // After another gap during the full read, the full read runs again.
        progress.apply_changes(head(20), &[logged(20, 15, 3)], &table);
        progress.apply_page(FIRST_PAGE, &[], &table);
        assert_eq!(progress.next_page(), Some(FIRST_PAGE));
        progress.apply_changes(head(20), &[], &table);
        progress.apply_page(FIRST_PAGE, &[], &table);
        assert_eq!(
            (progress.next_page(), progress.complete_up_to()),
            (None, Some(20))
        );
        // The counter is smaller than before, as after a fail-over.
        progress.apply_changes(head(19), &[], &table);
        assert_eq!(
            (progress.next_page(), progress.next_log_score()),
            (Some(FIRST_PAGE), LOG_SCORE_BASE + 20)
        );
        assert_eq!(progress.full_reads, 2);
        progress.apply_page(FIRST_PAGE, &[], &table);
        assert_eq!(progress.complete_up_to(), Some(19));
        // Redis lost the set, and a new set has a change with the same number.
        let other = Head {
            epoch: Some(EPOCH_BASE + 1),
            ..head(19)
        };
        progress.apply_changes(other, &[], &table);
        assert_eq!(progress.next_page(), Some(FIRST_PAGE));
    }

    #[test]
    fn a_change_of_rules_is_noticed() {
        let (table, mut progress) = (CutOffs::new(10), ReadProgress::default());
        progress.apply_changes(head(0), &[], &table);
        assert!(!progress.rules_changed);
        progress.apply_changes(
            head(1_800_000_000_001),
            &[(b"rules:0".to_vec(), LOG_SCORE_BASE + 1_800_000_000_001)],
            &table,
        );
        assert!(progress.rules_changed && progress.next_page().is_none());
    }
}
