//! What operations do to one key.

use serde::{Deserialize, Deserializer, Serialize};

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing: as before the first operation, or deleted.
    Absent,
    /// A counter, changed by `add`.
    Number(u64),
    /// A text, changed by `put` and `cas`.
    Text(String),
    /// A list, changed by `append`.
    List {
        /// How many items were ever appended.
        length: u64,
        /// The last [`LIST_SHOWN`] of them.
        last: Vec<String>,
    },
}

/// Items of a list that its value shows.
pub const LIST_SHOWN: usize = 6;

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// What `add` and `append` make larger: the number, or the length of the list.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self {
            Self::Absent | Self::Text(_) => 0,
            Self::Number(size) | Self::List { length: size, .. } => *size,
        }
    }

    /// As in the history file.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data serialises")
    }
}

/// An operation on one key. In a history file `{"op":"put","args":{"key":"a","value":"1"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "op", content = "args", rename_all = "lowercase", deny_unknown_fields)]
pub enum Operation {
    /// Reads.
    Get {
        /// The key.
        key: String,
    },
    /// Writes a text.
    Put {
        /// The key.
        key: String,
        /// The text.
        value: String,
    },
    /// Removes what the key holds.
    Delete {
        /// The key.
        key: String,
    },
    /// Writes a text where the key holds what is expected.
    Cas {
        /// The key.
        key: String,
        /// What it must hold.
        expect: Value,
        /// The text.
        value: String,
    },
    /// Adds to a counter.
    Add {
        /// The key.
        key: String,
        /// How much.
        amount: u64,
    },
    /// Appends to a list.
    Append {
        /// The key.
        key: String,
        /// The item.
        item: String,
    },
}

/// What a client was told. Every field that is there must be right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// What the key held before.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub previous: Option<Value>,
    /// Whether `cas` wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<bool>,
    /// What the key holds after the operation.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Value>,
}

/// Tells `null`, which is a value, from a field that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Observed {
    /// Only what the key holds after the operation.
    #[must_use]
    pub const fn value(value: Value) -> Self {
        Self { previous: None, swapped: None, value: Some(value) }
    }

    /// Only what the key held before.
    #[must_use]
    pub const fn previous(value: Value) -> Self {
        Self { previous: Some(value), swapped: None, value: None }
    }

    fn allows(&self, before: &Value, swapped: bool, after: &Value) -> bool {
        self.previous.as_ref().is_none_or(|previous| previous == before)
            && self.swapped.is_none_or(|told| told == swapped)
            && self.value.as_ref().is_none_or(|value| value == after)
    }
}

impl Operation {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Cas { key, .. }
            | Self::Add { key, .. }
            | Self::Append { key, .. } => key,
        }
    }

    /// What a key that held `before` holds afterwards; `None` where the operation cannot be applied
    /// to it, or not with the result that was observed.
    #[must_use]
    pub fn apply(&self, before: &Value, observed: Option<&Observed>) -> Option<Value> {
        let mut swapped = false;
        let after = match self {
            Self::Get { .. } => before.clone(),
            Self::Put { value, .. } => Value::text(value),
            Self::Delete { .. } => Value::Absent,
            Self::Cas { expect, value, .. } => {
                swapped = expect == before;
                if swapped { Value::text(value) } else { before.clone() }
            }
            Self::Add { amount, .. } => match before {
                Value::Absent => Value::Number(*amount),
                Value::Number(number) => Value::Number(number.checked_add(*amount)?),
                _ => return None,
            },
            Self::Append { item, .. } => {
                let (length, mut last) = match before {
                    Value::Absent => (0, Vec::new()),
                    Value::List { length, last } => (*length, last.clone()),
                    _ => return None,
                };
                last.push(item.clone());
                if last.len() > LIST_SHOWN {
                    last.remove(0);
                }
                Value::List { length: length.checked_add(1)?, last }
            }
        };
        observed.is_none_or(|told| told.allows(before, swapped, &after)).then_some(after)
    }

    /// Can it make the key's value only larger, or leave it as it is?
    #[must_use]
    pub const fn grows(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::Add { .. } | Self::Append { .. })
    }

    /// The size of the value that the key must have held before, by the result.
    #[must_use]
    pub fn size_before(&self, observed: Option<&Observed>) -> Option<u64> {
        let told = observed?;
        if let Some(previous) = &told.previous {
            return Some(previous.size());
        }
        let after = told.value.as_ref()?.size();
        Some(match self {
            Self::Add { amount, .. } => after.saturating_sub(*amount),
            Self::Append { .. } => after.saturating_sub(1),
            _ => after,
        })
    }

    /// Can it, with this result, have changed nothing whenever it took effect?
    #[must_use]
    pub fn only_read(&self, observed: Option<&Observed>) -> bool {
        let Some(told) = observed else { return matches!(self, Self::Get { .. }) };
        match self {
            Self::Get { .. } => true,
            Self::Cas { .. } => told.swapped == Some(false),
            Self::Delete { .. } => told.previous == Some(Value::Absent),
            Self::Put { value, .. } => {
                matches!(&told.previous, Some(Value::Text(previous)) if previous == value)
            }
            Self::Add { .. } | Self::Append { .. } => false,
        }
    }
}
