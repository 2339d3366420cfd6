//! Queries that wait until this replica has executed what they must see (rule R3).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::output::LinkId;
use crate::membership::Cid;

/// Queries of one link that may wait.
const MAX_WAITING: usize = 64;

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) link: LinkId,
    pub(super) nonce: u64,
    pub(super) full: bool,
    pub(super) payload: Bytes,
}

/// The waiting queries, by the instance they wait for.
#[derive(Debug, Default)]
pub(super) struct WaitingQueries {
    by_cid: BTreeMap<Cid, Vec<Query>>,
    per_link: BTreeMap<LinkId, usize>,
}

impl WaitingQueries {
    /// Lets a query wait; false where its link has too many waiting.
    pub(super) fn push(&mut self, min_cid: Cid, query: Query) -> bool {
        let waiting = self.per_link.entry(query.link).or_default();
        if *waiting >= MAX_WAITING {
            return false;
        }
        *waiting += 1;
        self.by_cid.entry(min_cid).or_default().push(query);
        true
    }

    /// The queries whose instance has been executed.
    pub(super) fn take_ready(&mut self, executed: Cid) -> Vec<Query> {
        let mut ready = Vec::new();
        while let Some(first) = self.by_cid.first_entry() {
            if *first.key() > executed {
                break;
            }
            ready.append(&mut first.remove());
        }
        for query in &ready {
            if let Some(waiting) = self.per_link.get_mut(&query.link) {
                *waiting -= 1;
            }
        }
        ready
    }

    /// The link is gone, and its queries with it.
    pub(super) fn forget(&mut self, link: LinkId) {
        if self.per_link.remove(&link).is_some_and(|waiting| waiting > 0) {
            self.by_cid.retain(|_, queries| {
                queries.retain(|query| query.link != link);
                !queries.is_empty()
            });
        }
    }
}
