use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::test_tokenizers;
use super::*;

static TOKENIZERS: LazyLock<Vec<(&str, Tokenizer, bool)>> = LazyLock::new(|| {
    let read = |(name, json, lane): (_, String, _)| {
        let tokenizer = Tokenizer::from_json(&json, None).unwrap();
        tokenizer.open_lane();
        (name, tokenizer, lane)
    };
    test_tokenizers::every().into_iter().map(read).collect()
});

#[test]
fn the_lane_is_open_where_it_agrees() {
    for (name, tokenizer, lane) in TOKENIZERS.iter() {
        assert_eq!(
            tokenizer.lane_refusal().is_none(),
            *lane,
            "{name}: {:?}",
            tokenizer.lane_refusal()
        );
    }
}

/// Few texts are not worth the time that opening it takes.
#[test]
fn the_lane_is_opened_for_much_text() {
    let tokenizer = Tokenizer::from_json(&test_tokenizers::byte_level(), None).unwrap();
    let text = "the quick brown fox ".repeat(LANE_BYTES / 20 / 4);
    for _ in 0..3 {
        tokenizer.encode_with_lane(&text, true).unwrap();
    }
    assert!(tokenizer.lane.get().is_none());
    for _ in 0..2 {
        tokenizer.encode_with_lane(&text, false).unwrap();
    }
    assert!(tokenizer.lane.get().is_none());
    for _ in 0..2 {
        tokenizer.encode_with_lane(&text, true).unwrap();
    }
    assert!(tokenizer.lane.get().is_some_and(Result::is_ok));
}

/// A difference in any part closes the lane.
#[test]
fn the_lane_is_closed_where_it_cannot_be_trusted() {
    let json: Value = serde_json::from_str(&test_tokenizers::byte_level()).unwrap();
    let changed = |path: &str, to: Value| {
        let mut json = json.clone();
        *json.pointer_mut(path).unwrap() = to;
        Tokenizer::from_json(&json.to_string(), None).unwrap()
    };
    let dropout = changed("/model/dropout", 0.5.into());
    assert_eq!(dropout.lane_refusal(), Some(&LaneRefusal::NotBpe));
    let whole_words = changed("/added_tokens/0/single_word", true.into());
    assert!(matches!(
        whole_words.lane_refusal(),
        Some(LaneRefusal::Unsupported(_))
    ));
}

/// A lane that returns other ids is detected: here two pieces are swapped.
#[test]
fn a_lane_that_differs_is_detected() {
    let tokenizer = Tokenizer::from_json(&test_tokenizers::byte_level(), None).unwrap();
    let mut json: Value = serde_json::from_str(&test_tokenizers::byte_level()).unwrap();
    let vocab = &mut json["model"]["vocab"];
    let (one, other) = (vocab["th"].take(), vocab["an"].take());
    (vocab["th"], vocab["an"]) = (other, one);
    let truth = |text: &str| encode(&tokenizer.reference, text).ok();
    let refusal = FastLane::open(json, &truth).err();
    assert!(
        matches!(refusal, Some(LaneRefusal::Disagrees(_))),
        "{refusal:?}"
    );
}

/// A character on which the two differ is detected when it first occurs, and
/// every text that contains it is encoded by `tokenizers`.
#[test]
fn a_character_that_differs_is_kept_out_of_the_lane() {
    let tokenizer = Tokenizer::from_json(&test_tokenizers::byte_level(), None).unwrap();
    let lane = tokenizer.open_lane().as_ref().ok().unwrap();
    let liar = |text: &str| {
        let ids = encode(&tokenizer.reference, text).ok()?;
        Some(if text.contains('\u{1f600}') {
            vec![7]
        } else {
            ids
        })
    };
    assert_eq!(lane.encode("a\u{1f600}", &liar), None);
    assert_eq!(lane.encode("\u{1f600}", &liar), None);
    assert!(lane.encode("a\u{1f601}", &liar).is_some());
    assert!(lane.encode("abc", &liar).is_some());
}

#[test]
fn invalid_files_are_rejected() {
    for json in ["", "{}", "{\"model\": 3}", "[]"] {
        let error = Tokenizer::from_json(json, None).err();
        assert!(
            matches!(error, Some(Error::InvalidTokenizer { .. })),
            "{json:?}"
        );
    }
}

#[test]
fn long_texts_are_encoded_whole() {
    let text = "the quick brown fox's 12 caf\u{e9}s <|end|> \n\n".repeat(40_000);
    let (_, tokenizer, _) = &TOKENIZERS[0];
    assert_eq!(
        tokenizer.encode(&text).unwrap(),
        encode(&tokenizer.reference, &text).unwrap()
    );
}

/// Realistic and unrealistic texts.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,8}",
        2 => "[ \\n\\t\\r]{1,3}",
        1 => "[A-Z0-9'.,!?<>|_-]{1,4}",
        1 => any::<char>().prop_map(String::from),
        1 => "\\PC{1,3}",
        1 => prop::sample::select(vec!["'s", "'ll", "\u{2581}", "e\u{301}", "\u{fb01}", "\u{a0}", "<think>"]).prop_map(String::from),
        1 => prop::sample::select(test_tokenizers::SPECIAL.to_vec()).prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn ids_are_those_of_tokenizers(text in text()) {
        for (name, tokenizer, _) in TOKENIZERS.iter() {
            let expected = encode(&tokenizer.reference, &text).ok();
            prop_assert_eq!(tokenizer.encode(&text).ok(), expected, "{}", name);
        }
    }

    /// Without special tokens in messages, guarded and direct encoding agree.
    /// Broken-up strings give no special token.
    #[test]
    fn broken_strings_are_text(text in text(), said in text()) {
        for (name, tokenizer, _) in TOKENIZERS.iter() {
            let special = tokenizer.special();
            let direct = tokenizer.encode_marked(&text, Marks(Some('\u{fdd5}'))).ok();
            prop_assert_eq!(direct, encode(&tokenizer.reference, &text).ok(), "{}", name);

            let marks = Marks::for_texts([said.as_str()]);
            let broken = special.broken(&said, marks).unwrap();
            let Ok(ids) = tokenizer.encode_marked(&broken, marks) else { continue };
            let forbidden: Vec<u32> = test_tokenizers::SPECIAL[1..].iter().filter_map(|it| tokenizer.token_to_id(it)).collect();
            prop_assert!(!ids.iter().any(|id| forbidden.contains(id)), "{}: {:?}", name, ids);
        }
    }
}

/// Broken strings give exactly the ids of the text without special-token
/// matching.
#[test]
fn broken_strings_have_the_ids_of_their_text() {
    for json in [
        test_tokenizers::byte_level(),
        test_tokenizers::normalized(false),
    ] {
        let tokenizer = Tokenizer::from_json(&json, None).unwrap();
        let mut plain: tokenizers::Tokenizer = json.parse().unwrap();
        plain.set_encode_special_tokens(true);
        for said in [
            "<|end|>",
            "a <|end|><|start|> b",
            "x<|end|><|end|>\n",
            "\u{fdd0}<|end|>\u{fdd2}0:1\u{fdd2}",
        ] {
            let marks = Marks::for_texts([said]);
            let broken = tokenizer.special().broken(said, marks).unwrap();
            let expected = encode(&plain, said).unwrap();
            assert_eq!(
                tokenizer.encode_marked(&broken, marks).unwrap(),
                expected,
                "{said:?}"
            );
        }
    }
}
