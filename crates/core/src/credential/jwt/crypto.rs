use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

/// Verifies signatures with `ring`, as TLS does, so the process has only one implementation of cryptography.
/// Algorithms with a shared secret, such as HS256, are not supported. Therefore no attacker can present a public key
/// as a shared secret (RFC 8725 2.1).
static CRYPTO_PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifier::new(*algorithm, key)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` use `ring` in the whole process. Repeated calls have no effect.
pub fn install() {
    let _ = CRYPTO_PROVIDER.install_default();
}

struct Verifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        let key_fits_algorithm = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => key.family() == AlgorithmFamily::Ec,
            Algorithm::EdDSA => key.family() == AlgorithmFamily::Ed,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => key.family() == AlgorithmFamily::Rsa,
            _ => false,
        };
        if !key_fits_algorithm {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Ok(Self {
            algorithm,
            key: key.clone(),
        })
    }

    fn is_valid_signature(&self, message: &[u8], signature: &[u8]) -> bool {
        let rsa = |parameters: &'static RsaParameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let components = RsaPublicKeyComponents { n, e };
                components.verify(parameters, message, signature).is_ok()
            }
            DecodingKeyKind::SecretOrDer(der) => UnparsedPublicKey::new(parameters, der)
                .verify(message, signature)
                .is_ok(),
        };
        let elliptic_curve = |algorithm: &'static dyn signature::VerificationAlgorithm| {
            self.key.try_get_as_bytes().is_ok_and(|key| {
                let key = UnparsedPublicKey::new(algorithm, key);
                key.verify(message, signature).is_ok()
            })
        };
        match self.algorithm {
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => elliptic_curve(&signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => elliptic_curve(&signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => elliptic_curve(&signature::ED25519),
            _ => false,
        }
    }
}

impl ::signature::Verifier<Vec<u8>> for Verifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), ::signature::Error> {
        if self.is_valid_signature(message, signature) {
            Ok(())
        } else {
            Err(::signature::Error::new())
        }
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
