//! The checker against histories known to be good or bad, against trying every order, and against
//! histories of executions that were linearizable.

use std::collections::HashSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 200_000;

fn put(key: &str, value: u64) -> Operation {
    Operation::Put { key: key.to_owned(), value: value.to_string() }
}

fn get(key: &str) -> Operation {
    Operation::Get { key: key.to_owned() }
}

fn call(client: usize, operation: Operation, invoke: u64, ended: Option<u64>) -> Call {
    Call { seed: None, client: format!("c{client}"), operation, invoke, ended, result: None }
}

fn files(kind: &str) -> Vec<(String, Vec<Call>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/histories-kv").join(kind);
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read(&path).unwrap();
            let mut runs = read(&text[..]).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let calls = runs.remove(&None).unwrap_or_default();
            assert!(runs.is_empty(), "{path:?} has runs with seeds");
            // What is read is written as it was.
            let mut again = Vec::new();
            write(&mut again, &calls).unwrap();
            assert_eq!(String::from_utf8(again), String::from_utf8(text), "{path:?}");
            (path.file_stem().unwrap().to_string_lossy().into_owned(), calls)
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

#[test]
fn known_good_histories_pass() {
    let files = files("good");
    assert!(files.len() >= 12, "{}", files.len());
    for (name, calls) in files {
        assert_eq!(check(&calls, LIMIT), Verdict::Linearizable, "{name}");
    }
}

#[test]
fn known_bad_histories_fail() {
    let files = files("bad");
    assert!(files.len() >= 20, "{}", files.len());
    for (name, calls) in files {
        let Verdict::Violation(violation) = check(&calls, LIMIT) else {
            panic!("{name} passes");
        };
        // What is shown is itself a violation: it was reduced, not changed.
        let key: Vec<&Call> =
            calls.iter().filter(|call| call.operation.key() == violation.key).collect();
        assert_eq!(search::find_order(&key, LIMIT), search::Found::None, "{name}: {violation}");
        assert!(violation.calls.len() + violation.earlier <= key.len(), "{name}: {violation}");
    }
}

#[test]
fn a_violation_is_shown_with_what_matters() {
    // A hundred good calls, another key, and a stale read among good ones.
    let mut calls = Vec::new();
    for number in 0..50 {
        let at = number * 100;
        let previous =
            if number == 0 { Value::Absent } else { Value::text((number - 1).to_string()) };
        let mut write = call(1, put("a", number), at, Some(at + 10));
        write.result = Some(Observed::previous(previous));
        let mut reading = call(2, get("a"), at + 20, Some(at + 30));
        reading.result = Some(Observed::value(Value::text(number.to_string())));
        calls.extend([write, reading, call(3, put("b", number), at, None)]);
    }
    let mut stale = call(4, get("a"), 4_950, Some(4_960));
    stale.result = Some(Observed::value(Value::text("48")));
    let mut good = call(2, get("a"), 4_945, Some(4_965));
    good.result = Some(Observed::value(Value::text("49")));
    calls.extend([stale, good]);
    let Verdict::Violation(violation) = check(&calls, LIMIT) else { panic!("it passes") };
    let shown = violation.to_string();
    let expected = r#"key "a" is not linearizable
  after 100 earlier calls, the last of which are
          0.004600 to 0.004610       c1       put {"key":"a","value":"46"} -> {"previous":"45"}
          0.004620 to 0.004630       c2       get {"key":"a"} -> {"value":"46"}
          0.004700 to 0.004710       c1       put {"key":"a","value":"47"} -> {"previous":"46"}
          0.004720 to 0.004730       c2       get {"key":"a"} -> {"value":"47"}
          0.004800 to 0.004810       c1       put {"key":"a","value":"48"} -> {"previous":"47"}
          0.004820 to 0.004830       c2       get {"key":"a"} -> {"value":"48"}
          0.004900 to 0.004910       c1       put {"key":"a","value":"49"} -> {"previous":"48"}
          0.004920 to 0.004930       c2       get {"key":"a"} -> {"value":"49"}
  the key can hold only "49"
  no order of these calls explains what their clients were told:
          0.004950 to 0.004960       c4       get {"key":"a"} -> {"value":"48"}
"#;
    assert_eq!(shown, expected);
}

#[test]
fn lines_that_are_not_calls_are_named() {
    let error = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
    let good = r#"{"client":"c1","op":"get","args":{"key":"a"},"invoke":5,"return":9,"result":{"value":null}}"#;
    assert_eq!(read(good.as_bytes()).unwrap()[&None].len(), 1);
    assert!(error(&format!("{good}\n\n{{")).starts_with("line 3 is not a call"));
    assert!(error(&good.replace("get", "list")).contains("unknown variant `list`"));
    assert_eq!(error(&good.replace('9', "4")), "line 1: the call returns before it begins");
    assert_eq!(
        error(&good.replace('9', "null")),
        "line 1: a call that never returned has no result"
    );
}

#[test]
fn a_search_that_is_too_long_is_given_up() {
    // Sixteen appends of unknown outcome, then a length that none of their orders explains.
    let append = |item: u64| Operation::Append { key: "a".to_owned(), item: item.to_string() };
    let mut calls: Vec<Call> = (0..16).map(|item| call(0, append(item), 0, None)).collect();
    let mut reading = call(1, get("a"), 10, Some(20));
    let last = vec!["none".to_owned()];
    reading.result = Some(Observed::value(Value::List { length: 16, last }));
    calls.push(reading);
    assert_eq!(check(&calls, 1000), Verdict::Undecided { key: "a".to_owned(), positions: 1000 });
}

/// Tries every order of every choice of the calls of unknown outcome.
fn some_order_by_brute_force(calls: &[Call]) -> bool {
    fn extend(calls: &[Call], done: &mut Vec<usize>, value: &Value) -> bool {
        let left = |index: &usize| !done.contains(index);
        let open: Vec<usize> = (0..calls.len()).filter(left).collect();
        if open.iter().all(|&index| calls[index].ended.is_none()) {
            return true;
        }
        open.iter().any(|&next| {
            let precedes =
                |&other: &usize| calls[other].ended.is_some_and(|end| end < calls[next].invoke);
            if open.iter().any(precedes) {
                return false;
            }
            let after = calls[next].operation.apply(value, calls[next].result.as_ref());
            after.is_some_and(|after| {
                done.push(next);
                let found = extend(calls, done, &after);
                done.pop();
                found
            })
        })
    }
    extend(calls, &mut Vec::new(), &Value::Absent)
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Absent), (0..3_u64).prop_map(|value| Value::text(value.to_string()))]
}

fn any_call() -> impl Strategy<Value = Call> {
    let operation = prop_oneof![
        Just(get("a")),
        (0..3_u64).prop_map(|value| put("a", value)),
        Just(Operation::Delete { key: "a".to_owned() }),
        (any_value(), 0..3_u64).prop_map(|(expect, value)| Operation::Cas {
            key: "a".to_owned(),
            expect,
            value: value.to_string()
        }),
    ];
    let result = (any_value(), any::<bool>(), 0..4_u8);
    (0..3_usize, operation, 0..12_u64, prop::option::weighted(0.75, 0..8_u64), result).prop_map(
        |(client, operation, invoke, long, (value, swapped, told))| {
            let result = match (&operation, told) {
                _ if long.is_none() => None,
                (Operation::Get { .. }, _) => Some(Observed::value(value)),
                (_, 0) => None,
                (Operation::Cas { .. }, _) => {
                    Some(Observed { previous: None, swapped: Some(swapped), value: Some(value) })
                }
                (_, 1) => Some(Observed::value(value)),
                _ => Some(Observed::previous(value)),
            };
            let ended = long.map(|long| invoke + long);
            Call { result, ..call(client, operation, invoke, ended) }
        },
    )
}

/// Calls on a counter, where the values that are too large end a search early.
fn any_count() -> impl Strategy<Value = Call> {
    let amount = prop_oneof![Just(None), (1..4_u64).prop_map(Some)];
    (amount, 0..12_u64, prop::option::weighted(0.6, 0..8_u64), 0..7_u64).prop_map(
        |(amount, invoke, long, value)| {
            let value = if value == 0 { Value::Absent } else { Value::Number(value) };
            let key = "n".to_owned();
            let operation =
                amount.map_or_else(|| get("n"), |amount| Operation::Add { key, amount });
            let result = long.map(|_| Observed::value(value));
            Call { result, ..call(0, operation, invoke, long.map(|long| invoke + long)) }
        },
    )
}

/// A history of an execution that was linearizable: each call takes effect at a time of its own
/// between its beginning and its end. Every value written is written once.
fn execution() -> impl Strategy<Value = Vec<Call>> {
    // Client, key, operation, pause, time until the effect, time from the effect to the end, fate.
    let step = (0..5_usize, 0..2_u8, 0..10_u8, 0..20_u64, 0..30_u64, 0..30_u64, 0..20_u8);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let mut clocks = [0_u64; 5];
        let mut calls = Vec::new();
        for (serial, (client, key, what, pause, before, after, fate)) in (1..).zip(steps) {
            let key = if key == 0 { "a" } else { "b" };
            let operation = match what {
                0..=3 => get(key),
                4..=6 => put(key, serial),
                7 => Operation::Delete { key: key.to_owned() },
                // What it expects is filled in when it takes effect.
                _ => Operation::Cas {
                    key: key.to_owned(),
                    expect: Value::text(if what == 8 { "right" } else { "wrong" }),
                    value: serial.to_string(),
                },
            };
            let invoke = clocks[client] + pause;
            let effect = invoke + before;
            clocks[client] = effect + after;
            let ended = (fate > 1).then_some(effect + after);
            // Fate 0: unknown and without effect. Fate 1: unknown and with it.
            calls.push((effect, fate != 0, call(client, operation, invoke, ended)));
        }
        calls.sort_by_key(|(effect, _, _)| *effect);
        let mut store = std::collections::HashMap::<String, Value>::new();
        for (_, effective, call) in &mut calls {
            let held = store.entry(call.operation.key().to_owned()).or_insert(Value::Absent);
            let before = held.clone();
            if let Operation::Cas { expect, .. } = &mut call.operation
                && *expect == Value::text("right")
            {
                *expect = before.clone();
            }
            if !*effective {
                continue;
            }
            let after = call.operation.apply(&before, None).unwrap();
            if call.ended.is_some() {
                call.result = Some(match &call.operation {
                    Operation::Get { .. } => Observed::value(after.clone()),
                    Operation::Cas { expect, .. } => Observed {
                        previous: None,
                        swapped: Some(*expect == before),
                        value: Some(after.clone()),
                    },
                    _ => Observed::previous(before),
                });
            }
            *held = after;
        }
        calls.into_iter().map(|(_, _, call)| call).collect()
    })
}

/// Makes one read illegal beyond doubt, in one of several ways; `None` where none applies.
fn corrupt(mut calls: Vec<Call>, way: u8, pick: prop::sample::Index) -> Option<Vec<Call>> {
    let reads =
        |call: &Call| matches!(call.operation, Operation::Get { .. }) && call.ended.is_some();
    let all: Vec<usize> = (0..calls.len()).filter(|&index| reads(&calls[index])).collect();
    let index = *all.get(pick.index(all.len().max(1)))?;
    let told = |value: Value| Some(Observed::value(value));
    let on_key = |other: &&Call| other.operation.key() == calls[index].operation.key();
    // Puts, their values (each is written once), and the results that show them.
    let puts: Vec<(&Call, &String)> = calls
        .iter()
        .filter(on_key)
        .filter_map(|call| match &call.operation {
            Operation::Put { value, .. } => Some((call, value)),
            _ => None,
        })
        .collect();
    calls[index].result = match way {
        // What nobody wrote.
        0 => told(Value::text("nobody wrote this")),
        // What was written only after the read had ended.
        1 => {
            let end = calls[index].ended?;
            let (_, value) = puts.iter().find(|(put, _)| put.invoke > end)?;
            told(Value::text(*value))
        }
        // What a later write, itself ended before the read began, replaced for good: its value is
        // written once.
        2 => {
            let begun = calls[index].invoke;
            let ended = puts.iter().filter(|(put, _)| put.ended.is_some_and(|end| end < begun));
            let (last, _) = ended.clone().max_by_key(|(put, _)| put.invoke)?;
            let mut old = ended.filter(|(put, _)| put.ended.is_some_and(|end| end < last.invoke));
            told(Value::text(old.next()?.1))
        }
        // Nothing, though something was put before and nothing deletes.
        _ => {
            let begun = calls[index].invoke;
            let mut same = calls.iter().filter(on_key);
            if same.any(|call| matches!(call.operation, Operation::Delete { .. })) {
                return None;
            }
            puts.iter().find(|(put, _)| put.ended.is_some_and(|end| end < begun))?;
            told(Value::Absent)
        }
    };
    Some(calls)
}

/// Two ended puts that both say what they replaced, the same value: a lost update.
fn lose_update(mut calls: Vec<Call>) -> Option<Vec<Call>> {
    let told = |call: &Call| call.result.as_ref().and_then(|told| told.previous.clone());
    let put = |call: &Call| matches!(call.operation, Operation::Put { .. });
    let mut seen = HashSet::new();
    let first = calls.iter().position(|call| {
        put(call) && matches!(told(call), Some(Value::Text(_))) && seen.insert(call.operation.key())
    })?;
    let second = (first + 1..calls.len()).find(|&other| {
        put(&calls[other])
            && calls[other].operation.key() == calls[first].operation.key()
            && matches!(told(&calls[other]), Some(Value::Text(_)))
    })?;
    calls[second].result = calls[first].result.clone();
    Some(calls)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_trying_every_order(
        calls in prop_oneof![
            prop::collection::vec(any_call(), 0..7),
            prop::collection::vec(any_count(), 0..7),
        ],
    ) {
        let expected = some_order_by_brute_force(&calls);
        let verdict = check(&calls, LIMIT);
        prop_assert_eq!(verdict == Verdict::Linearizable, expected, "{:?}", verdict);
        if let Verdict::Violation(violation) = verdict {
            // What is shown has no order either, from any of the values that it says are possible.
            let mut calls = violation.calls.clone();
            calls.retain(|call| call.ended.is_some());
            prop_assert!(!calls.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn linearizable_executions_pass_and_corrupted_ones_fail(
        calls in execution(),
        way in 0..4_u8,
        pick in any::<prop::sample::Index>(),
    ) {
        prop_assert_eq!(check(&calls, LIMIT), Verdict::Linearizable);
        for corrupted in [corrupt(calls.clone(), way, pick), lose_update(calls)] {
            let Some(corrupted) = corrupted else { continue };
            let verdict = check(&corrupted, LIMIT);
            prop_assert!(matches!(verdict, Verdict::Violation(_)), "{:?}", verdict);
        }
    }
}
