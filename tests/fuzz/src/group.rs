//! Views and keys.

use std::sync::Arc;

use webbft_protocol::auth::{ClientIdentity, NoiseKeypair, SigningKey};
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, View, ViewNumber,
};

/// Microseconds since the Unix epoch when every run begins.
pub(crate) const START: u64 = 1_700_000_000_000_000;

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("there are few of them")
}

pub(crate) fn signing_key(index: usize) -> SigningKey {
    SigningKey::from_secret(&[10 + small(index); 32])
}

pub(crate) fn noise_key(index: usize) -> NoiseKeypair {
    NoiseKeypair::from_secret([100 + small(index); 32])
}

pub(crate) fn identity(index: usize) -> ClientIdentity {
    ClientIdentity::from_secret([200 + small(index); 32])
}

/// A group of `n` that tolerates as many liars as it can.
pub(crate) fn view(n: usize) -> Arc<View> {
    let members = (0..n).map(|index| Member {
        id: ReplicaId(u16::from(small(index))),
        url: format!("ws://r{index}"),
        peer_address: String::new(),
        public_key: signing_key(index).public(),
        noise_key: Digest(*noise_key(index).public()),
    });
    Arc::new(View {
        service: ServiceId([1; 16]),
        number: ViewNumber(0),
        f: (n - 1) / 3,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: members.collect(),
    })
}
