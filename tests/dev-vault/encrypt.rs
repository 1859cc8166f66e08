//! Encryption of sensitive values: RSA-OAEP with SHA-1, then standard base64.
//!
//! The padding is written out after RFC 8017, section 7.1.1, and doesn't come from the library by
//! which the agent takes it off: a mistake would otherwise cancel itself out.

use std::{iter, sync::OnceLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use rsa::{
    BigUint, RsaPrivateKey, RsaPublicKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding},
    rand_core::OsRng,
    traits::PublicKeyParts as _,
};

use super::options::Encryption;

/// What a vault answers in the place of a value that is too long to encrypt.
const TOO_LONG: &str = "An error occurred while encrypting the text";

/// Encrypts for one authorization.
#[derive(Debug)]
pub struct Sealer {
    public: RsaPublicKey,
    /// The private key, PKCS#8 PEM, for the client.
    pub private_key_pem: String,
}

impl Sealer {
    /// The sealer an option asks for. A key that can't be read is an error.
    pub fn new(encryption: &Encryption) -> Result<Option<Self>, rsa::pkcs8::Error> {
        let private_key_pem = match encryption {
            Encryption::Off => return Ok(None),
            Encryption::Generated => generated().to_owned(),
            Encryption::Pem(pem) => pem.clone(),
        };
        let private = RsaPrivateKey::from_pkcs8_pem(&private_key_pem)?;
        Ok(Some(Self { public: private.to_public_key(), private_key_pem }))
    }

    /// A value as it leaves: encrypted, or the sentence that it can't be.
    pub fn seal(&self, value: &str) -> String {
        let size = self.public.size();
        let Some(padded) = pad(value.as_bytes(), size) else {
            return TOO_LONG.to_owned();
        };
        let number = BigUint::from_bytes_be(&padded);
        let sealed = number.modpow(self.public.e(), self.public.n());
        let sealed = sealed.to_bytes_be();
        let zeros = iter::repeat_n(0, size - sealed.len());
        STANDARD.encode(zeros.chain(sealed).collect::<Vec<u8>>())
    }
}

/// OAEP with SHA-1, MGF1 with SHA-1, and no label. Nothing if the message is too long.
fn pad(message: &[u8], size: usize) -> Option<Vec<u8>> {
    let zeros = size.checked_sub(message.len() + 2 * SHA1_OUTPUT_LEN + 2)?;
    let mut block = sha1(&[b""]);
    block.extend(iter::repeat_n(0, zeros));
    block.push(1);
    block.extend(message);

    let mut seed = [0; SHA1_OUTPUT_LEN];
    fastrand::fill(&mut seed);
    let block = masked(&block, &seed);
    let seed = masked(&seed, &block);
    Some(iter::once(0).chain(seed).chain(block).collect())
}

/// Data under the mask that MGF1 makes of a seed.
pub fn masked(data: &[u8], seed: &[u8]) -> Vec<u8> {
    let mask = (0_u32..).flat_map(|count| sha1(&[seed, &count.to_be_bytes()]));
    data.iter().zip(mask).map(|(data, mask)| data ^ mask).collect()
}

fn sha1(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// One key serves all vaults of a process, since making one takes long without optimization.
fn generated() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        RsaPrivateKey::new(&mut OsRng, 2048)
            .expect("2048 bits are a valid size")
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a fresh key can be encoded")
            .to_string()
    })
}
