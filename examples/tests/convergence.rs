//! Two edits of the same text, rebased over each other, lead to the same text: all pairs of edits
//! of up to two spans, on tiny texts.

use webbft_examples::editor::Text;
use webbft_examples::editor::rebase::{Span, Tie, check, length_after, normalise, rebase};

/// Texts to edit, as characters: no letter occurs twice, nor in an insertion.
const TEXTS: [&str; 6] = ["", "a", "😀", "ab", "a😀b", "ab😀c"];

/// Applies an edit in the plainest way, without the rope.
fn apply(text: &[u16], spans: &[Span]) -> Vec<u16> {
    let (mut out, mut copied) = (Vec::new(), 0);
    for span in spans {
        out.extend_from_slice(&text[copied..span.from]);
        out.extend(span.insert.encode_utf16());
        copied = span.to;
    }
    out.extend_from_slice(&text[copied..]);
    out
}

/// Every edit of up to two spans that splits no character; the insertions are `first`, `second`,
/// or nothing.
fn edits(text: &str, first: &str, second: &str) -> Vec<Vec<Span>> {
    let mut boundaries = vec![0];
    for char in text.chars() {
        boundaries.push(boundaries[boundaries.len() - 1] + char.len_utf16());
    }
    let single = |from: usize, insert: &str| -> Vec<Span> {
        let ends = boundaries.iter().filter(|&&to| to >= from);
        ends.flat_map(|&to| [Span::new(from, to, insert), Span::new(from, to, "")]).collect()
    };
    let mut edits = vec![vec![]];
    for &from in &boundaries {
        for one in single(from, first) {
            for &next in boundaries.iter().filter(|&&next| next >= one.to) {
                edits.extend(single(next, second).into_iter().map(|two| vec![one.clone(), two]));
            }
            edits.push(vec![one]);
        }
    }
    let mut edits: Vec<_> = edits.into_iter().map(normalise).collect();
    edits.sort_by_key(|edit| format!("{edit:?}"));
    edits.dedup();
    edits
}

/// The characters of `text` that `spans` leaves.
fn kept(text: &[u16], spans: &[Span]) -> Vec<bool> {
    (0..text.len()).map(|at| !spans.iter().any(|span| (span.from..span.to).contains(&at))).collect()
}

#[test]
fn two_edits_converge_and_keep_what_each_meant() {
    let mut pairs = 0;
    for text in TEXTS {
        let units: Vec<u16> = text.encode_utf16().collect();
        let accepted_edits = edits(text, "p", "𝔮");
        for a in edits(text, "x", "𝔶") {
            for b in &accepted_edits {
                // `b` was accepted, `a` comes after it.
                let a_after_b = rebase(a.clone(), b, Tie::AcceptedFirst);
                let b_after_a = rebase(b.clone(), &a, Tie::IncomingFirst);
                let end = apply(&apply(&units, b), &a_after_b);
                let case = || format!("{text:?}: {a:?} after {b:?}: {a_after_b:?}");
                assert_eq!(end, apply(&apply(&units, &a), &b_after_a), "{}", case());

                // Both are edits in normal form, of the length they claim.
                assert_eq!(check(&a_after_b), Ok(()), "{}", case());
                assert_eq!(normalise(a_after_b.clone()), a_after_b, "{}", case());
                assert_eq!(
                    length_after(&a_after_b, length_after(b, units.len())),
                    end.len(),
                    "{}",
                    case()
                );

                // Nothing is lost and nothing comes back: what neither deleted is there, in its
                // order, and so is what each inserted.
                let end = String::from_utf16(&end).expect("no half of a surrogate pair");
                let only = |of: &dyn Fn(char) -> bool| -> String {
                    end.chars().filter(|&char| of(char)).collect()
                };
                let neither: Vec<u16> = units
                    .iter()
                    .zip(kept(&units, &a).into_iter().zip(kept(&units, b)))
                    .filter_map(|(&unit, (a, b))| (a && b).then_some(unit))
                    .collect();
                let inserts = |edit: &[Span]| -> String {
                    edit.iter().map(|span| span.insert.as_str()).collect()
                };
                assert_eq!(
                    (
                        only(&|char| text.contains(char)),
                        only(&|char| "x𝔶".contains(char)),
                        only(&|char| "p𝔮".contains(char)),
                    ),
                    (String::from_utf16(&neither).unwrap(), inserts(&a), inserts(b)),
                    "{}",
                    case()
                );

                // The rope does the same.
                let mut rope = Text::from(text);
                rope.apply(b).unwrap();
                rope.apply(&a_after_b).unwrap();
                assert_eq!(rope, Text::from(end.as_str()), "{}", case());
                pairs += 1;
            }
        }
    }
    assert_eq!(pairs, 45_392);
}

#[test]
fn at_the_same_place_the_accepted_insertion_comes_first() {
    let at = |position: usize, insert: &str| vec![Span::new(position, position, insert)];
    assert_eq!(rebase(at(1, "x"), &at(1, "pp"), Tie::AcceptedFirst), at(3, "x"));
    assert_eq!(rebase(at(1, "x"), &at(1, "pp"), Tie::IncomingFirst), at(1, "x"));
    // An insertion inside what was deleted survives where that was, after what replaced it.
    assert_eq!(rebase(at(2, "x"), &[Span::new(1, 4, "p")], Tie::AcceptedFirst), at(2, "x"));
    // A deletion spares what was inserted inside it, and shrinks by what is gone already.
    assert_eq!(
        rebase(
            vec![Span::new(0, 6, "x")],
            &[Span::new(1, 2, ""), Span::new(4, 5, "pp")],
            Tie::AcceptedFirst
        ),
        vec![Span::new(0, 3, "x"), Span::new(5, 6, "")]
    );
    // A replacement and an insertion at its beginning: the insertion, being shorter, comes first,
    // whichever was accepted first.
    assert_eq!(rebase(at(1, "x"), &[Span::new(1, 2, "p")], Tie::AcceptedFirst), at(1, "x"));
    assert_eq!(
        rebase(vec![Span::new(1, 2, "x")], &at(1, "p"), Tie::IncomingFirst),
        vec![Span::new(2, 3, "x")]
    );
}
