//! Every decoder.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use webbft_protocol::membership::View;
use webbft_protocol::replica::Record;
use webbft_protocol::wire::{
    ClientHeader, ClientHello, ExecutionResult, Manifest, PeerEnvelope, ReplicaHeader, Request,
    ServerHello, SignedStopData, StopData, Welcome, decode, encode,
};

/// What decodes is no longer than its encoding allows, and decodes again to the same.
fn stable<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = decode::<T>(bytes) {
        let encoded = encode(&message);
        assert!(encoded.len() <= bytes.len(), "a shorter encoding was taken");
        assert_eq!(decode::<T>(&encoded), Ok(message));
    }
}

/// Arbitrary bytes at every decoder.
pub fn wire(bytes: &[u8]) {
    stable::<ClientHello>(bytes);
    stable::<ServerHello>(bytes);
    stable::<Welcome>(bytes);
    stable::<ClientHeader>(bytes);
    stable::<ReplicaHeader>(bytes);
    stable::<ExecutionResult>(bytes);
    stable::<Request>(bytes);
    stable::<PeerEnvelope>(bytes);
    stable::<StopData>(bytes);
    stable::<Record>(bytes);
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(envelope) = PeerEnvelope::decode(bytes) {
        assert_eq!(PeerEnvelope::decode(&envelope.encode()), Ok(envelope));
    }
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(Manifest::decode(&manifest.encode()).as_ref(), Ok(&manifest));
        assert!(manifest.service_chunks() <= manifest.chunks.len());
        let lengths = (0..manifest.chunks.len()).map(|index| manifest.chunk_len(index) as u64);
        assert_eq!(lengths.sum::<u64>(), manifest.service_bytes + manifest.protocol_bytes);
    }
    if let Ok(signed) = decode::<SignedStopData>(bytes) {
        let _ = signed.decode();
    }
    view(bytes);
}

/// A view as JSON, from a page or a file.
fn view(bytes: &[u8]) {
    let Ok(view) = serde_json::from_slice::<View>(bytes) else { return };
    let json = serde_json::to_vec(&view).expect("a view is written as JSON");
    assert_eq!(serde_json::from_slice::<View>(&json).expect("and read again"), view);
    if view.validate().is_ok() {
        assert!(view.quorums().quorum() <= view.n());
        assert_eq!(view.everyone().len(), view.n());
    }
}
