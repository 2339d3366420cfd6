//! What a new leader has to propose: a function of the STOPDATAs alone, so that every follower
//! can compute it again (rules S6 and S7).

use crate::auth::{StopDataError, VerifiedStopData};
use crate::membership::{Cid, Digest, Epoch, Quorums, Regency, ReplicaSet, View};
use crate::wire::{SignedStopData, Sync};

/// What may be proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Only the batch with this hash: it may have been decided.
    Bound(Digest),
    /// Any valid batch: nothing can have been decided.
    Unbound,
}

/// A choice and the instance it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyncChoice {
    /// The instance after the highest that is certified.
    pub(super) cid: Cid,
    pub(super) choice: Choice,
}

/// A SYNC that no correct leader sends: it misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyncFault {
    /// Sent by another than the regency's leader.
    #[error("sent a SYNC without being the regency's leader")]
    NotLeader,
    /// It holds a STOPDATA that cannot be used.
    #[error("sent a SYNC with an unusable STOPDATA: {0}")]
    StopData(StopDataError),
    /// It holds a STOPDATA of another regency.
    #[error("sent a SYNC with a STOPDATA of another regency")]
    Regency,
    /// It holds two STOPDATAs of one member.
    #[error("sent a SYNC with two STOPDATAs of one member")]
    Repeated,
    /// The STOPDATAs do not allow any choice yet.
    #[error("sent a SYNC whose STOPDATAs leave the choice open")]
    Undetermined,
    /// The batch is not the bound one.
    #[error("sent a SYNC with another batch than the bound one")]
    NotBound,
    /// Two SYNCs for one regency.
    #[error("sent two different SYNCs for one regency")]
    TwoSyncs,
}

/// Computes the choice from verified STOPDATAs of distinct members of one regency. `None` while
/// they are too few or contradict each other: wait for more.
pub(super) fn choose(quorums: Quorums, datas: &[&VerifiedStopData]) -> Option<SyncChoice> {
    if datas.len() < quorums.quorum() {
        return None;
    }
    let highest = datas.iter().map(|data| data.data().last_cid).max()?;
    // What a member says is about the instance after its own last one. Said of an instance that
    // is certified by now, it is history (rule S6).
    let views: Vec<MemberView<'_>> = datas
        .iter()
        .map(|data| data.data())
        .map(|data| {
            if data.last_cid == highest {
                MemberView { accepted: data.accepted, writeset: &data.writeset }
            } else {
                MemberView { accepted: None, writeset: &[] }
            }
        })
        .collect();
    let choice = match bound(quorums, &views) {
        Some(hash) => Choice::Bound(hash),
        None if views.iter().filter(|view| view.accepted.is_none()).count() >= quorums.quorum() => {
            Choice::Unbound
        }
        None => return None,
    };
    Some(SyncChoice { cid: highest.next(), choice })
}

struct MemberView<'a> {
    accepted: Option<(Epoch, Digest)>,
    writeset: &'a [(Epoch, Digest)],
}

/// The value that may have been decided, of the highest epoch (rule S7).
fn bound(quorums: Quorums, views: &[MemberView<'_>]) -> Option<Digest> {
    let mut candidates: Vec<(Epoch, Digest)> =
        views.iter().filter_map(|view| view.accepted).collect();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.into_iter().rev().find_map(|(epoch, hash)| {
        let compatible = views.iter().filter(|view| match view.accepted {
            None => true,
            Some(accepted) => accepted.0 < epoch || accepted == (epoch, hash),
        });
        let wrote = views.iter().filter(|view| {
            view.writeset.iter().any(|(written, value)| *written >= epoch && *value == hash)
        });
        let fits = compatible.count() >= quorums.quorum() && wrote.count() >= quorums.one_correct();
        fits.then_some(hash)
    })
}

/// Checks a SYNC and computes its choice again (rule S6). Gives the STOPDATAs, too.
pub(super) fn judge(
    view: &View,
    sync: &Sync,
) -> Result<(SyncChoice, Vec<VerifiedStopData>), SyncFault> {
    let datas = verify_all(view, sync.regency, &sync.stop_datas)?;
    let all: Vec<&VerifiedStopData> = datas.iter().collect();
    let choice = choose(view.quorums(), &all).ok_or(SyncFault::Undetermined)?;
    if let Choice::Bound(bound) = choice.choice
        && sync.batch.hash(view.service, view.number, choice.cid) != bound
    {
        return Err(SyncFault::NotBound);
    }
    Ok((choice, datas))
}

fn verify_all(
    view: &View,
    regency: Regency,
    signed: &[SignedStopData],
) -> Result<Vec<VerifiedStopData>, SyncFault> {
    let mut senders = ReplicaSet::EMPTY;
    signed
        .iter()
        .map(|signed| {
            let data = VerifiedStopData::check(view, signed).map_err(SyncFault::StopData)?;
            if data.data().regency != regency {
                return Err(SyncFault::Regency);
            }
            if !senders.insert(data.sender()) {
                return Err(SyncFault::Repeated);
            }
            Ok(data)
        })
        .collect()
}
