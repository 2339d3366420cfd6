//! A batch whose bodies are all there.

use bytes::Bytes;

use super::admission::Admission;
use super::pending::Body;
use crate::execution::OrderedRequest;
use crate::replica::Value;
use crate::wire::{Batch, BatchEntry, Request};

/// A batch and its requests, each of which is what the batch's digest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    batch: Batch,
    bodies: Vec<Body>,
}

impl Held {
    /// From the bodies that admission holds, where each entry passes `may_use`.
    pub(super) fn from_admission(
        batch: &Batch,
        admission: &Admission,
        may_use: impl Fn(&BatchEntry) -> bool,
    ) -> Option<Self> {
        let body = |entry: &BatchEntry| {
            admission.body(&entry.id, &entry.digest).filter(|_| may_use(entry)).cloned()
        };
        let bodies = batch.entries.iter().map(body).collect::<Option<_>>()?;
        Some(Self { batch: batch.clone(), bodies })
    }

    /// From bytes of anywhere, where they are exactly what the batch's digests name.
    pub(super) fn from_bytes(batch: Batch, bodies: &[Bytes]) -> Option<Self> {
        if bodies.len() != batch.entries.len() {
            return None;
        }
        let body = |(entry, bytes): (&BatchEntry, &Bytes)| {
            if Request::digest(bytes) != entry.digest {
                return None;
            }
            let request = Request::decode(bytes).ok().filter(|request| request.id == entry.id)?;
            Some(Body { bytes: bytes.clone(), request })
        };
        let bodies = batch.entries.iter().zip(bodies).map(body).collect::<Option<_>>()?;
        Some(Self { batch, bodies })
    }

    pub(super) const fn batch(&self) -> &Batch {
        &self.batch
    }

    pub(super) fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.bodies.iter()
    }

    pub(super) fn bytes(&self) -> Vec<Bytes> {
        self.bodies.iter().map(|body| body.bytes.clone()).collect()
    }

    pub(super) fn value(&self) -> Value {
        Value { batch: self.batch.clone(), bodies: self.bytes() }
    }

    pub(super) fn requests(&self) -> Vec<OrderedRequest> {
        let entries = self.batch.entries.iter();
        entries
            .zip(&self.bodies)
            .map(|(entry, body)| OrderedRequest {
                request: body.request.clone(),
                digest: entry.digest,
            })
            .collect()
    }
}
