//! Keys and views for unit tests.

use webbft_protocol::auth::{NoiseKeypair, SigningKey};
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, View, ViewNumber,
};

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_secret(&[seed; 32])
}

pub(crate) fn noise_keypair(seed: u8) -> NoiseKeypair {
    NoiseKeypair::from_secret([seed; 32])
}

/// A view whose member at position i has the keys of seed i.
pub(crate) fn view(n: u8, f: usize) -> View {
    View {
        service: ServiceId([7; 16]),
        number: ViewNumber(0),
        f,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..n)
            .map(|seed| Member {
                id: ReplicaId(seed.into()),
                url: format!("ws://127.0.0.1:{}/ws", 7000 + u16::from(seed)),
                peer_address: format!("127.0.0.1:{}", 8000 + u16::from(seed)),
                public_key: signing_key(seed).public(),
                noise_key: Digest(*noise_keypair(seed).public()),
            })
            .collect(),
    }
}
