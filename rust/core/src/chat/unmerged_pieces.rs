//! Pieces of a BPE vocabulary that its merges do not produce.

use rustc_hash::FxHashSet;
use serde_json::Value;

/// The pieces of more than one character that are neither the result of a merge
/// nor an added token, such as `<0x0A>`, SentencePiece's byte fallback.
/// `tokenizers` never returns such a piece for the text that spells it, unless
/// `ignore_merges` is set.
pub(super) fn pieces(model: &Value, added: &[Value]) -> Vec<String> {
    if model["ignore_merges"] == true {
        return Vec::new();
    }
    let merged: FxHashSet<String> = model["merges"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(result)
        .collect();
    let tokens: FxHashSet<&str> = added
        .iter()
        .filter_map(|it| it["content"].as_str())
        .collect();
    let vocabulary = model["vocab"].as_object().into_iter().flatten();
    vocabulary
        .map(|(piece, _)| piece)
        .filter(|piece| piece.chars().nth(1).is_some())
        .filter(|piece| !merged.contains(*piece) && !tokens.contains(piece.as_str()))
        .cloned()
        .collect()
}

/// The result of a merge, in either notation of `tokenizer.json`.
fn result(merge: &Value) -> Option<String> {
    match merge {
        Value::String(pair) => pair
            .split_once(' ')
            .map(|(left, right)| format!("{left}{right}")),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => Some(format!("{left}{right}")),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_without_a_merge() {
        let vocab =
            json!({"a": 0, "b": 1, "ab": 2, "<0x0A>": 3, "</s>": 4, "\u{e9}": 5, "abab": 6});
        let added = [json!({"content": "</s>"})];
        for merges in [json!(["a b", "ab ab"]), json!([["a", "b"], ["ab", "ab"]])] {
            let model = json!({"vocab": vocab, "merges": merges});
            assert_eq!(pieces(&model, &added), ["<0x0A>"]);
        }
        let model = json!({"vocab": vocab, "merges": [], "ignore_merges": true});
        assert!(pieces(&model, &added).is_empty());
    }
}
