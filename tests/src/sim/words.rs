//! What a message or a record gives a replica's word for.

use webbft_protocol::membership::{Cid, Digest, View};
use webbft_protocol::replica::Record;
use webbft_protocol::wire::{PeerMessage, SignedStopData, Sync};

use super::history::{Saying, Word};

/// The word that a message gives, if it does.
#[must_use]
pub(super) fn word_of_message(view: &View, message: &PeerMessage) -> Option<Word> {
    Some(match message {
        PeerMessage::Propose { cid, epoch, batch, .. } => {
            let hash = batch.hash(view.service, view.number, *cid);
            Word { kind: Saying::Proposes, cid: *cid, epoch: *epoch, hash }
        }
        PeerMessage::Write { cid, epoch, hash } => {
            Word { kind: Saying::Writes, cid: *cid, epoch: *epoch, hash: *hash }
        }
        PeerMessage::Accept { cid, epoch, hash, .. } => {
            Word { kind: Saying::Accepts, cid: *cid, epoch: *epoch, hash: *hash }
        }
        PeerMessage::StopData(signed) => return word_of_stop_data(signed),
        PeerMessage::Sync(sync) => word_of_sync(view, sync),
        _ => return None,
    })
}

/// The word that a record keeps, if it does.
#[must_use]
pub(super) fn word_of_record(view: &View, record: &Record) -> Option<Word> {
    Some(match record {
        Record::Written { cid, epoch, hash, .. } => {
            Word { kind: Saying::Writes, cid: *cid, epoch: *epoch, hash: *hash }
        }
        Record::Accepted { cid, epoch, hash, .. } => {
            Word { kind: Saying::Accepts, cid: *cid, epoch: *epoch, hash: *hash }
        }
        Record::Regency { stop_data, .. } => return word_of_stop_data(stop_data.as_ref()?),
        Record::Sync(sync) => word_of_sync(view, sync),
        Record::Decided { .. } | Record::Proof { .. } | Record::Checkpoint(_) => return None,
    })
}

fn word_of_stop_data(signed: &SignedStopData) -> Option<Word> {
    let epoch = signed.decode().ok()?.regency.epoch();
    let hash = Digest::of(&signed.bytes);
    Some(Word { kind: Saying::TellsLeader, cid: Cid::ZERO, epoch, hash })
}

fn word_of_sync(view: &View, sync: &Sync) -> Word {
    let hash = sync.batch.hash(view.service, view.number, Cid::ZERO);
    Word { kind: Saying::Synchronises, cid: Cid::ZERO, epoch: sync.regency.epoch(), hash }
}
