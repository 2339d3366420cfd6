use std::fs;
use std::path::Path;

use webbft_protocol::replica::Record;

use super::Votes;
use super::data_dir::{Durability, Memory, Place, Recovery, begin_anew, mark_genesis};
use super::store::{Changes, Store};
use super::testing::{IDENTITY, accepted};

use Durability::{Async, Memory as InMemory, Sync};

const REJOIN: Recovery = Recovery { rejoin: true, accept_lost_votes: false };
const ACCEPT: Recovery = Recovery { rejoin: false, accept_lost_votes: true };

/// What a start remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Genesis,
    Lost,
    Recovered(Votes),
}

struct Replica {
    dir: tempfile::TempDir,
    alone: bool,
}

impl Replica {
    /// As `webbft init` leaves it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mark_genesis(dir.path()).unwrap();
        Self { dir, alone: false }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn begin(
        &self,
        durability: Durability,
        recovery: Recovery,
    ) -> anyhow::Result<(Begins, Option<Store>)> {
        let place = Place {
            dir: self.path(),
            config_dir: self.path(),
            durability,
            identity: IDENTITY,
            alone: self.alone,
        };
        let (memory, store) = place.begin(recovery)?;
        let begins = match memory {
            Memory::Genesis => Begins::Genesis,
            Memory::Lost => Begins::Lost,
            Memory::Recovered(contents) => {
                assert_eq!(contents.records, [record()]);
                Begins::Recovered(contents.votes)
            }
        };
        Ok((begins, store))
    }

    /// A start that ends at once, as if killed.
    fn start(&self, durability: Durability) -> Begins {
        self.begin(durability, Recovery::default()).unwrap().0
    }

    /// A start during which something is recorded, and which then ends as if killed.
    fn run(&self, durability: Durability) -> Begins {
        let (begins, store) = self.begin(durability, Recovery::default()).unwrap();
        let changes = Changes { records: vec![record()], votes: None };
        store.unwrap().commit(&changes).unwrap();
        begins
    }

    fn refusal(&self, durability: Durability, recovery: Recovery) -> String {
        let error = format!("{:#}", self.begin(durability, recovery).unwrap_err());
        error.replace(&format!("{}/", self.path().display()), "")
    }
}

fn record() -> Record {
    accepted(1, 10)
}

#[test]
fn in_memory_only_the_first_start_is_the_first() {
    let replica = Replica::new();
    assert_eq!(replica.start(InMemory), Begins::Genesis);
    assert!(!replica.path().join("genesis").exists());
    assert_eq!(replica.start(InMemory), Begins::Lost);
}

#[test]
fn an_empty_directory_is_not_a_first_start() {
    for durability in [Sync, Async, InMemory] {
        let replica = Replica::new();
        fs::remove_file(replica.path().join("genesis")).unwrap();
        assert_eq!(replica.start(durability), Begins::Lost);
        assert_eq!(replica.start(durability), Begins::Lost);
    }
}

#[test]
fn sync_remembers_whatever_ends_it() {
    let replica = Replica::new();
    assert_eq!(replica.start(Sync), Begins::Genesis);
    assert_eq!(replica.run(Sync), Begins::Genesis, "it has said nothing yet");
    assert_eq!(replica.start(Sync), Begins::Recovered(Votes::Complete));
}

#[test]
fn async_doubts_its_votes_unless_it_was_stopped_cleanly() {
    let replica = Replica::new();
    assert_eq!(replica.run(Async), Begins::Genesis);
    assert_eq!(replica.start(Async), Begins::Recovered(Votes::Doubtful));
    assert_eq!(replica.start(Sync), Begins::Recovered(Votes::Doubtful), "the doubt stays");
    let (_, store) = replica.begin(Async, Recovery::default()).unwrap();
    let votes = Some(Votes::Complete);
    store.unwrap().commit(&Changes { votes, ..Changes::default() }).unwrap();
    assert_eq!(replica.start(Async), Begins::Recovered(Votes::Complete), "as a clean stop notes");
    assert_eq!(replica.start(Async), Begins::Recovered(Votes::Doubtful));
    let (begins, _) = replica.begin(Async, ACCEPT).unwrap();
    assert_eq!(begins, Begins::Recovered(Votes::Complete));
    assert_eq!(replica.start(Async), Begins::Recovered(Votes::Doubtful), "once, not for ever");
}

#[test]
fn a_lost_disk_is_never_taken_for_a_complete_one() {
    let replica = Replica::new();
    replica.run(Sync);
    fs::remove_file(Store::path(replica.path())).unwrap();
    assert_eq!(replica.start(Sync), Begins::Lost);
    let (begins, _) = replica.begin(Sync, ACCEPT).unwrap();
    assert_eq!(begins, Begins::Lost, "there is nothing that could be accepted");
    // What it learned meanwhile says nothing about its votes.
    assert_eq!(replica.run(Sync), Begins::Lost);
    assert_eq!(replica.start(Sync), Begins::Recovered(Votes::Lost));
    assert_eq!(replica.start(Async), Begins::Recovered(Votes::Lost));
}

#[test]
fn rejoin_sets_the_storage_aside_once() {
    let replica = Replica::new();
    assert!(replica.refusal(Sync, REJOIN).contains("this replica has never run"));
    replica.run(Sync);
    fs::write(Store::path(replica.path()), "no database at all").unwrap();
    let refusal = replica.refusal(Sync, Recovery::default());
    assert!(refusal.starts_with("state.redb: damaged: "), "{refusal}");
    assert!(refusal.contains("start it once with --rejoin"), "{refusal}");
    assert_eq!(replica.begin(Sync, REJOIN).unwrap().0, Begins::Lost);
    assert_eq!(fs::read(replica.path().join("state.redb.old-1")).unwrap(), b"no database at all");
    assert_eq!(replica.begin(Sync, REJOIN).unwrap().0, Begins::Lost);
    assert!(replica.path().join("state.redb.old-2").exists());
    assert_eq!(replica.run(Sync), Begins::Lost);
}

#[test]
fn memory_beside_a_storage_is_refused() {
    let replica = Replica::new();
    replica.run(Sync);
    let refusal = replica.refusal(InMemory, Recovery::default());
    assert!(refusal.starts_with("state.redb is there, and with durability"), "{refusal}");
    assert_eq!(replica.begin(InMemory, REJOIN).unwrap().0, Begins::Lost);
}

#[test]
fn markers_that_contradict_each_other_are_refused() {
    let replica = Replica::new();
    replica.run(Sync);
    mark_genesis(replica.path()).unwrap();
    for durability in [Sync, InMemory] {
        let refusal = replica.refusal(durability, Recovery::default());
        assert!(refusal.starts_with("genesis says that this replica has never run"), "{refusal}");
    }
    fs::remove_file(replica.path().join("incarnation")).unwrap();
    let refusal = replica.refusal(Sync, Recovery::default());
    assert!(refusal.contains("and state.redb that it has; remove the former"), "{refusal}");
}

#[test]
fn a_first_start_that_was_interrupted_is_one_again() {
    let replica = Replica::new();
    // What lies there between the creation of the storage and the renaming of the marker.
    drop(Store::create(replica.path(), IDENTITY, Votes::Doubtful).unwrap());
    fs::write(replica.path().join("state.redb.new"), "half a file").unwrap();
    assert_eq!(replica.run(Sync), Begins::Genesis);
    assert_eq!(replica.start(Sync), Begins::Recovered(Votes::Complete));
}

#[test]
fn a_marker_that_was_left_beside_the_configuration_is_asked_for() {
    let replica = Replica::new();
    let data = replica.path().join("data");
    let place = Place {
        dir: &data,
        config_dir: replica.path(),
        durability: Sync,
        identity: IDENTITY,
        alone: false,
    };
    let error = place.begin(Recovery::default()).unwrap_err().to_string();
    assert!(error.contains("move that file there, otherwise remove it"), "{error}");
    fs::rename(replica.path().join("genesis"), data.join("genesis")).unwrap();
    assert!(matches!(place.begin(Recovery::default()).unwrap().0, Memory::Genesis));
}

#[test]
fn a_single_replica_has_nobody_to_learn_from() {
    let mut replica = Replica::new();
    replica.alone = true;
    assert_eq!(replica.start(InMemory), Begins::Genesis);
    assert_eq!(replica.start(InMemory), Begins::Genesis, "it begins anew, empty");
    let refusal = replica.refusal(Sync, Recovery::default());
    assert!(refusal.starts_with("state.redb is gone, and there is no other replica"), "{refusal}");
    assert!(replica.refusal(Sync, REJOIN).contains("no other replica"));

    let mut replica = Replica::new();
    replica.alone = true;
    assert_eq!(replica.run(Async), Begins::Genesis);
    assert_eq!(replica.start(Async), Begins::Recovered(Votes::Complete), "nobody to contradict");
}

#[test]
fn a_group_begins_anew_only_where_none_has_a_storage() {
    let (first, second) = (Replica::new(), Replica::new());
    let dirs = [first.path().to_owned(), second.path().to_owned()];
    first.start(InMemory);
    second.start(InMemory);
    begin_anew(&dirs).unwrap();
    assert_eq!(first.run(Sync), Begins::Genesis);
    begin_anew(&dirs).unwrap();
    assert_eq!(first.start(Sync), Begins::Recovered(Votes::Complete));
    begin_anew(&dirs).unwrap();
    assert_eq!(second.start(Sync), Begins::Genesis, "it had not been started yet");
}
