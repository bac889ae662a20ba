use std::path::PathBuf;

use super::{ConfigError, Environment, Loaded, load, load_book, load_book_and_sign_ins};
use crate::policy::{Rulebook, SignInSource};

/// Where a configuration comes from, to read it again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What goes over it.
    pub environment: Environment,
}

/// What the files of a configuration hold: whether they have changed can be told by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents(Vec<Option<Vec<u8>>>);

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(self.file.as_deref(), &self.environment)
    }

    /// Reads the policies and rules alone.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake in them.
    pub fn load_book(&self) -> Result<Rulebook, ConfigError> {
        load_book(self.file.as_deref(), &self.environment)
    }

    /// Reads the policies and rules, and how people sign in.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake in these.
    pub fn load_book_and_sign_ins(&self) -> Result<(Rulebook, Vec<SignInSource>), ConfigError> {
        load_book_and_sign_ins(self.file.as_deref(), &self.environment)
    }

    /// The files whose contents count whenever the configuration is read: its own, the key ring, the hashes of
    /// admin tokens, the certificates of the gRPC listener, and the secrets that identity providers know Curfew by.
    #[must_use]
    pub fn files(&self, loaded: &Loaded) -> Vec<PathBuf> {
        let effective = &loaded.effective;
        let access = [
            &effective.token.keys_file,
            &effective.admin.token_hashes_file,
            &effective.grpc.cert_file,
            &effective.grpc.key_file,
            &effective.grpc.client_ca_file,
        ];
        let access = access.into_iter().flatten().map(PathBuf::from);
        let providers = effective.login.providers.values();
        let secrets = providers.filter_map(|it| it.client_secret_file.as_ref().map(PathBuf::from));
        self.file
            .iter()
            .cloned()
            .chain(access)
            .chain(secrets)
            .collect()
    }
}

impl Contents {
    /// What files hold now. One that can't be read holds nothing, as one that is not there.
    #[must_use]
    pub fn read(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|path| std::fs::read(path).ok()).collect())
    }
}
