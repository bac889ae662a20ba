use std::path::PathBuf;

use super::{
    ConfigError, Environment, Loaded, SessionSettings, load, load_rulebook, load_session_settings,
};
use crate::policy::Rulebook;

/// The places that a configuration comes from. A reload reads them again.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The configuration file, if any.
    pub file: Option<PathBuf>,
    /// Environment variables, which override the file.
    pub environment: Environment,
}

/// The contents of the files of a configuration, to detect a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContents(Vec<Option<Vec<u8>>>);

impl ConfigSource {
    /// Reads the whole configuration, like [`load`].
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(self.file.as_deref(), &self.environment)
    }

    /// Reads only the policies, rules and hosts, like [`load_rulebook`].
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake in these parts.
    pub fn load_rulebook(&self) -> Result<Rulebook, ConfigError> {
        load_rulebook(self.file.as_deref(), &self.environment)
    }

    /// Reads the settings that decide how long people stay signed in, like [`load_session_settings`].
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake in these parts.
    pub fn load_session_settings(&self) -> Result<SessionSettings, ConfigError> {
        load_session_settings(self.file.as_deref(), &self.environment)
    }

    /// Returns the files whose changes start a reload: the configuration file, the key ring, the hashes of admin
    /// tokens, the certificates of the listeners and OAuth client secrets.
    #[must_use]
    pub fn files(&self, loaded: &Loaded) -> Vec<PathBuf> {
        let effective = &loaded.effective;
        let section_files = [
            &effective.token.keys_file,
            &effective.admin.token_hashes_file,
        ];
        let section_files = section_files.into_iter().flatten();
        let section_files = section_files
            .chain(effective.tls.files())
            .chain(effective.proxy.files())
            .map(PathBuf::from);
        let providers = effective.login.providers.values();
        let client_secrets =
            providers.filter_map(|it| it.client_secret_file.as_ref().map(PathBuf::from));
        self.file
            .iter()
            .cloned()
            .chain(section_files)
            .chain(client_secrets)
            .collect()
    }
}

impl FileContents {
    /// Reads the files. A file that cannot be read counts as missing.
    #[must_use]
    pub fn read(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|path| std::fs::read(path).ok()).collect())
    }
}
