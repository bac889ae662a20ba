//! Paths whose requests never count as activity.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::{Candidate, GlobSet, GlobSetBuilder};

use crate::policy::{NormalPath, PathPattern, PathPatternError};

/// Paths whose requests never count as activity, as sets of globs.
#[derive(Clone, Debug, Default)]
pub struct PassivePaths(Vec<Arc<PassiveSet>>);

/// The passive paths of one object.
#[derive(Debug)]
struct PassiveSet {
    texts: BTreeSet<String>,
    globs: GlobSet,
}

impl PassivePaths {
    /// Compiles globs over paths, in the form of [`PathPattern::glob`].
    ///
    /// # Errors
    /// The text that is not such a glob, with the reason.
    pub fn new<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, (String, PathPatternError)> {
        let texts: BTreeSet<String> = texts.into_iter().map(str::to_owned).collect();
        if texts.is_empty() {
            return Ok(Self::default());
        }
        let mut globs = GlobSetBuilder::new();
        for text in &texts {
            match PathPattern::glob(text) {
                Ok(PathPattern::Glob(glob)) => globs.add(glob),
                Ok(_) => continue,
                Err(error) => return Err((text.clone(), error)),
            };
        }
        let too_large = |error: globset::Error| {
            let all = texts.iter().map(String::as_str).collect::<Vec<_>>();
            (all.join(", "), PathPatternError::Glob(error.to_string()))
        };
        let globs = globs.build().map_err(too_large)?;
        Ok(Self(vec![Arc::new(PassiveSet { texts, globs })]))
    }

    /// All paths.
    #[must_use]
    pub fn all() -> Self {
        Self::new(["/**"]).unwrap_or_default()
    }

    /// Whether requests for this path never count as activity. An ambiguous path never counts if there is any passive
    /// path.
    #[must_use]
    pub fn contain(&self, path: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Ok(path) = NormalPath::new(path) else {
            return true;
        };
        let candidate = Candidate::new(path.as_str());
        self.0
            .iter()
            .any(|set| set.globs.is_match_candidate(&candidate))
    }

    /// The paths of both. Compiles nothing, because checks call it.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut sets = self.0.clone();
        for set in &other.0 {
            if !sets
                .iter()
                .any(|it| Arc::ptr_eq(it, set) || it.texts == set.texts)
            {
                sets.push(Arc::clone(set));
            }
        }
        Self(sets)
    }

    /// The globs, sorted.
    #[must_use]
    pub fn texts(&self) -> BTreeSet<&str> {
        let sets = self.0.iter();
        sets.flat_map(|set| set.texts.iter().map(String::as_str))
            .collect()
    }
}

impl PartialEq for PassivePaths {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for PassivePaths {}
