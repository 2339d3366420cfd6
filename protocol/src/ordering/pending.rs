//! What is known about requests that are not ordered yet.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::membership::{Digest, ReplicaSet};
use crate::wire::Request;

/// A request's bytes and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes, as the client sent them.
    pub bytes: Bytes,
    /// The same, decoded.
    pub request: Request,
}

/// One digest under a request's number.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) digest: Digest,
    /// Who vouches for it at present (rule A4).
    pub(super) vouchers: ReplicaSet,
    /// Who ever did (rule A7).
    pub(super) ever: ReplicaSet,
    pub(super) body: Option<Body>,
}

impl Candidate {
    pub(super) const fn new(digest: Digest) -> Self {
        Self { digest, vouchers: ReplicaSet::EMPTY, ever: ReplicaSet::EMPTY, body: None }
    }

    /// Admitted: body held, and 2f + 1 replicas vouch at present, this one among them (rule A4).
    pub(super) const fn is_admitted(&self, me: usize, vouchers: usize) -> bool {
        self.body.is_some() && self.vouchers.contains(me) && self.vouchers.len() >= vouchers
    }
}

/// All digests under one number.
#[derive(Debug, Default)]
pub(super) struct PendingNumber {
    pub(super) candidates: Vec<Candidate>,
    /// The one digest this replica vouched for directly (rule A1).
    pub(super) direct: Option<Digest>,
}

impl PendingNumber {
    pub(super) fn candidate(&self, digest: &Digest) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.digest == *digest)
    }

    pub(super) fn candidate_mut(&mut self, digest: &Digest) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|candidate| candidate.digest == *digest)
    }

    pub(super) fn candidate_or_new(&mut self, digest: Digest) -> &mut Candidate {
        let index = match self.candidates.iter().position(|known| known.digest == digest) {
            Some(index) => index,
            None => {
                self.candidates.push(Candidate::new(digest));
                self.candidates.len() - 1
            }
        };
        &mut self.candidates[index]
    }

    /// How many digests of this number the member at `peer` vouches for.
    pub(super) fn vouched_by(&self, peer: usize) -> usize {
        self.candidates.iter().filter(|candidate| candidate.vouchers.contains(peer)).count()
    }
}

/// The un-ordered numbers of one session.
#[derive(Debug, Default)]
pub(super) struct PendingSession {
    pub(super) numbers: BTreeMap<u64, PendingNumber>,
    /// Numbers up to this one have been put into the queue of admitted requests.
    pub(super) queued: u64,
}
