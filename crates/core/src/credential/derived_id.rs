use sha2::{Digest, Sha256};

use crate::session::{SessionId, Subject};

/// Derives an ID from `kind` and `texts`: the first half of a SHA-256 hash. The hash includes the length of each
/// text, so different lists have different IDs. The same list has a different ID for each kind.
pub(super) fn derive_id(kind: &str, texts: &[&[u8]]) -> SessionId {
    let mut hash = Sha256::new();
    hash.update(format!("curfew {kind} 1\0"));
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; SessionId::LEN];
    id.copy_from_slice(&digest[..SessionId::LEN]);
    SessionId::from_bytes(id)
}

/// The pseudo-subject whose cut-off requires a new authentication of the person: an authentication before the cut-off
/// starts no session.
#[must_use]
pub fn reauthentication_subject(person: &Subject) -> Subject {
    Subject::of_provider(derive_id("reauthentication", &[person.as_str().as_bytes()]))
}
