//! Decrypts values of an authorization with "encryption of sensitive information": standard base64
//! of RSA-OAEP with SHA-1. Finds the sentence that DSM sends in place of a value that is too long
//! for the key: RSA takes 214 bytes at most at 2048 bits (RFC 8017, 7.1.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::DecodePrivateKey;

use rsa::traits::PublicKeyParts;
use rsa::{Oaep, RsaPrivateKey};
use sha1::Sha1;

use crate::model::{Bundle, Fault};
use crate::secret::Secret;

/// The text that DSM sends in place of a value that is too long for the key, in both languages.
const ENCRYPTION_FAILED: [&str; 2] =
    ["An error occurred while encrypting the text", "Ocorreu um erro ao criptografar o texto"];

/// Lengths in bytes of ciphertexts under keys of 2048, 3072 and 4096 bits.
const CIPHERTEXTS: [usize; 3] = [256, 384, 512];

/// True if a value is the vault's own message that it could not encrypt the value.
pub fn is_complaint(value: &str) -> bool {
    let value = value.trim().trim_end_matches('.');
    ENCRYPTION_FAILED.iter().any(|sentence| value.eq_ignore_ascii_case(sentence))
}

/// True if a value looks like a ciphertext; a reason to warn if no key is set.
pub fn looks_encrypted(value: &str) -> bool {
    CIPHERTEXTS.iter().any(|length| value.len() == length.div_ceil(3) * 4)
        && STANDARD.decode(value).is_ok_and(|bytes| CIPHERTEXTS.contains(&bytes.len()))
}

/// The authorization's private key.
pub struct PrivateKey(RsaPrivateKey);

/// The result of decrypting one value.
#[derive(Debug)]
pub enum Opened {
    /// The value was encrypted; this is its plain text.
    Plain(Secret<String>),
    /// The value can't have been encrypted for this key.
    NotEncrypted,
    /// The value has a ciphertext's length, but this key does not decrypt it to text.
    Closed,
}

impl PrivateKey {
    /// Reads a PKCS#8 PEM key; `None` if `pem` holds none.
    pub fn from_pem(pem: &str) -> Option<Self> {
        RsaPrivateKey::from_pkcs8_pem(pem.trim()).ok().map(Self)
    }

    /// Decrypts a value, if it is a ciphertext of this key's length.
    pub fn open(&self, value: &str) -> Opened {
        if value.len() != self.0.size().div_ceil(3) * 4 {
            return Opened::NotEncrypted;
        }
        let Ok(ciphertext) = STANDARD.decode(value) else {
            return Opened::NotEncrypted;
        };
        if ciphertext.len() != self.0.size() {
            return Opened::NotEncrypted;
        }
        // No blinding: it protects against attackers who send ciphertexts and time the answers, but
        // here the vault chooses them.
        match self.0.decrypt(Oaep::new::<Sha1>(), &ciphertext).map(String::from_utf8) {
            Ok(Ok(text)) => Opened::Plain(Secret::new(text)),
            Ok(Err(_)) | Err(_) => Opened::Closed,
        }
    }
}

/// Decrypts every encrypted value, and makes a fault of each that the vault could not encrypt.
///
/// A value that is not encrypted stays, since DSM encrypts some fields only. If the key decrypts no
/// ciphertext of the answer, it is the wrong key, and each ciphertext is a fault; if it decrypts
/// another one, a value that it does not decrypt only has a ciphertext's length, and stays.
pub fn open_all(bundle: &mut Bundle, key: Option<&PrivateKey>) {
    let (mut opened, mut closed) = (0_usize, Vec::new());
    let mut complaints = Vec::new();
    for (identity, set) in &mut bundle.secrets {
        for item in set.entries.iter_mut().flatten() {
            let place = || (identity.clone(), item.key.clone());
            if is_complaint(item.value.expose()) {
                complaints.push(place());
                continue;
            }
            match key.map(|key| key.open(item.value.expose())) {
                Some(Opened::Plain(plain)) => {
                    item.value = plain;
                    opened += 1;
                }
                Some(Opened::Closed) => closed.push(place()),
                Some(Opened::NotEncrypted) | None if looks_encrypted(item.value.expose()) => {
                    let (key, remarks) = (&item.key, &mut bundle.remarks);
                    remarks.push(format!(
                        "the value of {key:?} of {identity} looks encrypted and is published as it is; set SEGURA_PRIVATE_KEY_FILE to this authorization's key"
                    ));
                }
                Some(Opened::NotEncrypted) | None => {}
            }
        }
    }
    for (identity, key) in complaints {
        bundle.secrets.remove(&identity);
        bundle.faults.push(Fault::NotEncrypted { identity, key });
    }
    for (identity, key) in closed {
        if opened == 0 {
            bundle.secrets.remove(&identity);
            bundle.faults.push(Fault::NotDecrypted { identity, key });
        } else {
            bundle.remarks.push(format!(
                "the value of {key:?} of {identity} is as long as a ciphertext but was not encrypted for this key"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vaults_encryption_error_differs_from_a_value() {
        for (value, expected) in [
            ("An error occurred while encrypting the text", true),
            ("an error occurred while encrypting the text.", true),
            ("Ocorreu um erro ao criptografar o texto", true),
            ("An error occurred while encrypting the text of my secret", false),
            ("", false),
        ] {
            assert_eq!(is_complaint(value), expected, "{value}");
        }
    }

    #[test]
    fn only_base64_of_a_keys_length_looks_encrypted() {
        assert!(looks_encrypted(&STANDARD.encode([7; 256])));
        assert!(looks_encrypted(&STANDARD.encode([7; 512])));
        assert!(!looks_encrypted(&STANDARD.encode([7; 255])));
        assert!(!looks_encrypted("c2VjcmV0"));
        assert!(!looks_encrypted(&"!".repeat(344)));
    }

    #[test]
    fn a_text_without_a_key_is_none() {
        assert!(PrivateKey::from_pem("").is_none());
        assert!(
            PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----")
                .is_none()
        );
    }
}
