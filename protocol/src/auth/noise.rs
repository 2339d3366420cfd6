//! Static keys, and Noise IK with randomness as an argument.

use std::sync::Mutex;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest as _, Sha256};
use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifierList, HandshakePattern,
    HashChoice, NoiseParams,
};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::membership::ClientId;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_SHA256";

/// A static X25519 key pair of a replica or a client.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NoiseKeypair {
    secret: [u8; 32],
    #[zeroize(skip)]
    public: [u8; 32],
}

impl std::fmt::Debug for NoiseKeypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoiseKeypair({:02x?}…)", &self.public[..4])
    }
}

impl NoiseKeypair {
    /// The key pair of this secret; any 32 random bytes are one.
    #[must_use]
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let public = PublicKey::from(&StaticSecret::from(secret)).to_bytes();
        Self { secret, public }
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The secret key, to be stored where only its owner reads.
    #[must_use]
    pub const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// A client's key pair and the id that follows from it.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    keypair: NoiseKeypair,
    id: ClientId,
}

impl ClientIdentity {
    /// The identity with this secret key.
    #[must_use]
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let keypair = NoiseKeypair::from_secret(secret);
        let id = ClientId::of_key(keypair.public());
        Self { keypair, id }
    }

    /// The client id.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.id
    }

    /// The key pair.
    #[must_use]
    pub const fn keypair(&self) -> &NoiseKeypair {
        &self.keypair
    }
}

/// Which end of a handshake.
pub(super) enum Role<'a> {
    /// The client, who knows the replica's static public key.
    Initiator {
        /// That key.
        remote: &'a [u8; 32],
    },
    /// The replica.
    Responder,
}

/// A handshake state whose ephemeral key comes from `seed`, 32 random bytes used once.
pub(super) fn handshake(
    role: Role<'_>,
    local: &NoiseKeypair,
    prologue: &[u8],
    seed: [u8; 32],
) -> Result<snow::HandshakeState, snow::Error> {
    // Not `PATTERN.parse()`: parsing all of Noise is a hundredth of the browser client.
    let choice = HandshakeChoice {
        pattern: HandshakePattern::IK,
        modifiers: HandshakeModifierList { list: Vec::new() },
    };
    let params = NoiseParams::new(
        PATTERN.to_owned(),
        BaseChoice::Noise,
        choice,
        DHChoice::Curve25519,
        CipherChoice::ChaChaPoly,
        HashChoice::SHA256,
    );
    let builder = snow::Builder::with_resolver(params, Box::new(Seeded::new(seed)))
        .local_private_key(local.secret())?
        .prologue(prologue)?;
    match role {
        Role::Initiator { remote } => builder.remote_public_key(remote)?.build_initiator(),
        Role::Responder => builder.build_responder(),
    }
}

/// snow's own cryptography with our randomness.
struct Seeded {
    // snow asks for its generator through a shared reference, once a handshake.
    seed: Mutex<[u8; 32]>,
}

impl Seeded {
    const fn new(seed: [u8; 32]) -> Self {
        Self { seed: Mutex::new(seed) }
    }
}

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        let mut seed = self.seed.lock().ok()?;
        let rng = ChaCha20Rng::from_seed(*seed);
        seed.zeroize();
        Some(Box::new(SeededRng(rng)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::SHA256 => Some(Box::new(NoiseSha256(Sha256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// snow's own resolver would bring SHA-512 along, a tenth of the browser client's cryptography.
struct NoiseSha256(Sha256);

impl Hash for NoiseSha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

struct SeededRng(ChaCha20Rng);

impl Random for SeededRng {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}
