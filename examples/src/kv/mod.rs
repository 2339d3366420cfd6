//! A key-value store.
//!
//! | operation | result |
//! |---|---|
//! | `{"op":"put","key":"a","value":"1"}` | `{"previous":null}` |
//! | `{"op":"delete","key":"a"}` | `{"previous":"1"}` |
//! | `{"op":"cas","key":"a","expect":null,"value":"1"}` | `{"swapped":true,"value":"1"}` |
//! | `{"op":"get","key":"a"}` (also a query) | `{"value":"1"}` |
//! | `{"op":"list","prefix":"a","limit":10,"after":"a1"}` (also a query) | `{"entries":[{"key":"a2","value":"1"}],"more":false}` |
//!
//! An absent value is `null`. `cas` (compare and set) writes only where the key holds `expect`,
//! and its `value` is what the key holds afterwards, to try again with. `list` is in order of the
//! keys' UTF-8 bytes; `limit` and `after` (the last key of the previous page) may be left out.
//!
//! Each change is published on the topic `kv` as `{"key":"a","value":"1"}`, a deletion with
//! `null`. One topic, because replicas keep the last events of every topic: a topic for each key
//! would let clients make any number of them.

mod store;

use serde::{Deserialize, Deserializer, Serialize};
use webbft_protocol::execution::{Context, JsonService, RestoreError};
use webbft_protocol::membership::Cid;
use webbft_protocol::wire;

use store::Store;

/// The topic of all changes.
pub const TOPIC: &str = "kv";
/// The longest key, in bytes of UTF-8.
pub const MAX_KEY: usize = 256;
/// The longest value, in bytes of UTF-8.
pub const MAX_VALUE: usize = 64 << 10;
/// What the store may hold: the bytes of all keys and values, and [`ENTRY_BYTES`] for each key.
pub const MAX_STORE: usize = 64 << 20;
/// What a key counts besides its own bytes and its value's.
pub const ENTRY_BYTES: usize = 64;
/// The most entries that one `list` gives.
pub const MAX_LIST: usize = 1000;
/// A page of `list` ends where its keys and values together exceed this many bytes. JSON may
/// write a byte as six (`\u0001`), and the result must stay below the wire's 4 MiB.
pub const MAX_LIST_BYTES: usize = 512 << 10;

/// The key-value store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kv {
    store: Store,
}

/// What a client may ask for in the total order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub enum Operation {
    /// Gives `key` a value.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Removes `key`.
    Delete {
        /// The key.
        key: String,
    },
    /// Gives `key` a value if it holds `expect`.
    Cas {
        /// The key.
        key: String,
        /// What it must hold; `null` where it must be absent. May not be left out.
        #[serde(deserialize_with = "present")]
        expect: Option<String>,
        /// Its new value.
        value: String,
    },
    /// Reads `key` in the total order.
    Get {
        /// The key.
        key: String,
    },
    /// Reads entries in the total order.
    List(List),
}

/// What a client may read without ordering.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub enum Query {
    /// Reads `key`.
    Get {
        /// The key.
        key: String,
    },
    /// Reads entries.
    List(List),
}

/// Which entries to list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct List {
    /// What their keys begin with; the empty text for all.
    pub prefix: String,
    /// How many at most; no more than [`MAX_LIST`] in any case.
    #[serde(default = "max_list")]
    #[cfg_attr(test, ts(optional, as = "Option<usize>"))]
    pub limit: usize,
    /// Only keys after this one.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub after: Option<String>,
}

/// The results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Of `get`.
    Value(Value),
    /// Of `put` and `delete`.
    Written(Written),
    /// Of `cas`.
    Compared(Compared),
    /// Of `list`.
    Page(Page),
}

/// What `get` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Value {
    /// What the key holds.
    pub value: Option<String>,
}

/// What `put` and `delete` give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Written {
    /// What the key held before.
    pub previous: Option<String>,
}

/// What `cas` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Compared {
    /// Whether the key held what was expected, and now holds the new value.
    pub swapped: bool,
    /// What the key holds now.
    pub value: Option<String>,
}

/// What `list` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Page {
    /// In order of their keys.
    pub entries: Vec<Entry>,
    /// Whether there are more entries after these.
    pub more: bool,
}

/// A key and its value; also the event of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Entry {
    /// The key.
    pub key: String,
    /// What it holds; `null` in the event of a deletion.
    pub value: Option<String>,
}

/// An operation that cannot be done in this state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "KvError"))]
#[serde(tag = "code", rename_all = "camelCase")]
pub enum Error {
    /// The store would exceed [`MAX_STORE`]; nothing was changed.
    Full {
        /// In bytes.
        limit: usize,
        /// In words.
        message: String,
    },
}

/// Tells `null` from a field that is missing, which would otherwise mean the same.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

fn max_list() -> usize {
    MAX_LIST
}

impl Kv {
    fn list(&self, list: &List) -> Reply {
        let limit = list.limit.min(MAX_LIST);
        let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
        for (key, value) in self.store.entries(&list.prefix, list.after.as_deref()) {
            bytes += key.len() + value.len();
            if entries.len() == limit || (bytes > MAX_LIST_BYTES && !entries.is_empty()) {
                more = true;
                break;
            }
            entries.push(Entry { key: key.to_owned(), value: Some(value.to_owned()) });
        }
        Reply::Page(Page { entries, more })
    }

    /// Gives `key` another value, `None` to delete it, and publishes that.
    fn write(
        &mut self,
        key: String,
        value: Option<String>,
        context: &mut Context<'_>,
    ) -> Result<Option<String>, Error> {
        let size = self.store.size_with(&key, value.as_deref());
        if value.is_some() && size > MAX_STORE {
            return Err(Error::Full {
                limit: MAX_STORE,
                message: format!(
                    "the store holds at most {MAX_STORE} bytes and would hold {size}; delete \
                     something first"
                ),
            });
        }
        let previous = self.store.write(&key, value.as_deref(), context.cid);
        if previous != value {
            let event = serde_json::to_vec(&Entry { key, value });
            context.publish(TOPIC, event.expect("two strings serialise"));
        }
        Ok(previous)
    }
}

impl JsonService for Kv {
    type Operation = Operation;
    type Query = Query;
    type Reply = Reply;
    type Error = Error;

    fn admit(operation: &Operation) -> Result<(), String> {
        let (key, value) = match operation {
            Operation::Put { key, value } | Operation::Cas { key, value, .. } => {
                (key, value.as_str())
            }
            Operation::Delete { key } | Operation::Get { key } => (key, ""),
            Operation::List(_) => return Ok(()),
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(format!(
                "a key has 1 to {MAX_KEY} bytes of UTF-8; this one has {}",
                key.len()
            ));
        }
        if value.len() > MAX_VALUE {
            return Err(format!(
                "a value has at most {MAX_VALUE} bytes of UTF-8; this one has {}: split it over \
                 several keys",
                value.len()
            ));
        }
        Ok(())
    }

    fn execute(&mut self, operation: Operation, context: &mut Context<'_>) -> Result<Reply, Error> {
        match operation {
            Operation::Put { key, value } => {
                let previous = self.write(key, Some(value), context)?;
                Ok(Reply::Written(Written { previous }))
            }
            Operation::Delete { key } => {
                let previous = self.write(key, None, context)?;
                Ok(Reply::Written(Written { previous }))
            }
            Operation::Cas { key, expect, value } => {
                let held = self.store.get(&key);
                if held == expect.as_deref() {
                    self.write(key, Some(value.clone()), context)?;
                    Ok(Reply::Compared(Compared { swapped: true, value: Some(value) }))
                } else {
                    Ok(Reply::Compared(Compared { swapped: false, value: held.map(str::to_owned) }))
                }
            }
            Operation::Get { key } => {
                Ok(Reply::Value(Value { value: self.store.get(&key).map(str::to_owned) }))
            }
            Operation::List(list) => Ok(self.list(&list)),
        }
    }

    fn query(&self, query: Query) -> (Result<Reply, Error>, Option<Cid>) {
        match query {
            Query::Get { key } => {
                let value = self.store.get(&key).map(str::to_owned);
                (Ok(Reply::Value(Value { value })), Some(self.store.changed(&key)))
            }
            Query::List(list) => (Ok(self.list(&list)), Some(self.store.last_change())),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        wire::encode(&self.store)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let store = wire::decode(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        Ok(Self { store })
    }
}

#[cfg(test)]
mod tests;
