//! What proves that an instance was decided (rule N3).

use bytes::Bytes;

use crate::auth::VerifiedCertificate;
use crate::membership::{Cid, Digest, Epoch, ReplicaId, View};
use crate::wire::Certificate;

/// Authenticated ACCEPTs of at least q + f members, of one epoch and hash. Nobody has looked at
/// their signatures; a quorum's are good all the same, for at most f members are faulty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepts {
    pub(super) epoch: Epoch,
    pub(super) signatures: Vec<(ReplicaId, Bytes)>,
}

/// A proof of one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// Fit to be shown to others.
    Certificate(Certificate),
    /// Holds a certificate: which of the signatures make it, is looked at when it is needed.
    Accepts(Accepts),
}

impl Accepts {
    /// Looks for a quorum of good signatures. Gives the members whose signatures turned out to be
    /// bad on the way, too. `None` only if more than f members are faulty.
    pub(super) fn verify(
        &self,
        view: &View,
        cid: Cid,
        hash: Digest,
    ) -> (Option<VerifiedCertificate>, Vec<usize>) {
        let signatures = self.signatures.clone();
        let claimed = Certificate { epoch: self.epoch, signatures };
        let Ok(certificate) = VerifiedCertificate::check(view, cid, hash, &claimed) else {
            return (None, Vec::new());
        };
        let good = &certificate.certificate().signatures;
        // What comes after the last good one was not looked at.
        let looked_at = self.signatures.iter().take_while(|accept| Some(*accept) != good.last());
        let bad = looked_at.filter(|accept| !good.contains(accept));
        let bad = bad.filter_map(|(id, _)| view.index_of(*id)).collect();
        (Some(certificate), bad)
    }
}
