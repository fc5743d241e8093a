//! Tables of replies, and properties of the split.

use proptest::prelude::*;

use super::{TurnMark, TurnMarks, split};

/// What was said and what was thought in a reply, without marks of a template.
fn parts(reply: &str) -> (String, Option<String>) {
    let found = split(reply, &TurnMarks::default(), false);
    (found.said.into_owned(), found.thought)
}

fn check(cases: &[(&str, &str, Option<&str>)]) {
    for &(reply, said, thought) in cases {
        assert_eq!(
            parts(reply),
            (said.to_owned(), thought.map(str::to_owned)),
            "{reply:?}"
        );
    }
}

#[test]
fn a_plain_reply_is_unchanged() {
    for reply in [
        "",
        " a \n",
        "a < b and b > c",
        "x[0]: 1",
        "Score: 4",
        "I think: yes",
        "analysis of the answer: good",
        "The analysis",
        "finally: 3",
        "<b>bold</b>",
        "if a <| b |> c",
        "The `<think>` tag and `</think>` and `<|im_end|>`.",
        "[thinking] Hm.",
        "<thinker>x</thinker>",
        "user: a\u{200b}".strip_prefix("user: ").unwrap_or_default(),
        "https://user:pw@host",
        "The superuser: root",
        "Instruction: stir",
        "Response: none",
    ] {
        assert_eq!(parts(reply), (reply.to_owned(), None), "{reply:?}");
    }
}

#[test]
fn thoughts_are_not_said() {
    check(&[
        ("<think>t</think>a", "a", Some("t")),
        ("<think>\n\n</think>\n\na", "a", None),
        ("a<THINK>t</Think>b", "a\nb", Some("t")),
        ("<thinking>t</thinking>a", "a", Some("t")),
        ("<thought>t</thought>a", "a", Some("t")),
        ("<reasoning effort=\"high\">t</reasoning>a", "a", Some("t")),
        ("< think >t</ think >a", "a", Some("t")),
        ("<seed:think>t</seed:think>a", "a", Some("t")),
        ("<mm:think>t</mm:think>a", "a", Some("t")),
        ("<longcat_think>t</longcat_think>a", "a", Some("t")),
        ("[THINK]t[/THINK]a", "a", Some("t")),
        ("◁think▷t◁/think▷a", "a", Some("t")),
        ("<|START_THINKING|>t<|END_THINKING|>a", "a", Some("t")),
        (
            "<|START_THINKING|>t<|END_THINKING|><|START_RESPONSE|>a<|END_RESPONSE|>",
            "a",
            Some("t"),
        ),
        (
            "<|begin_of_thought|>t<|end_of_thought|>\n\n<|begin_of_solution|>a<|end_of_solution|>",
            "a",
            Some("t"),
        ),
        ("<|thinking|>t<|/thinking|>a", "a", Some("t")),
        ("<|channel>thought\nt<channel|>a", "a", Some("t")),
        ("<unused94>thought\nt<unused95>a", "a", Some("thought\nt")),
        ("<think>t</think><answer>a</answer>", "a", Some("t")),
        ("<think>t</think>\n<response>a</response>\n", "a", Some("t")),
        ("<think>t</think>Assistant: a", "a", Some("t")),
        (
            "Here is my thought process:\nt\nHere is my response:\na",
            "a",
            Some("t"),
        ),
    ]);
}

#[test]
fn a_thought_without_its_beginning_was_opened_by_the_prompt() {
    check(&[
        ("t</think>a", "a", Some("t")),
        ("t[/THINK]a", "a", Some("t")),
        ("t<|END_THINKING|>a", "a", Some("t")),
        ("t</seed:think>\n\na", "a", Some("t")),
        (
            "<think>t<think>u</think>v</think>a",
            "a",
            Some("t<think>u\nv"),
        ),
    ]);
}

#[test]
fn a_thought_without_an_end_leaves_nothing_said() {
    for reply in [
        "<think>t",
        "a<think>t",
        "<think>t</think>a<think>u",
        "[THINK]t",
        "<|START_THINKING|>t",
        "<|channel|>analysis<|message|>t",
        "<|channel|>analysis",
        "analysisWe have to score it. Score: 4",
        "Here is my thought process:\nScore: 4",
        "<think>t<|im_end|></think>a",
    ] {
        let found = split(reply, &TurnMarks::default(), false);
        assert!(found.said.is_empty() && found.open, "{reply:?}: {found:?}");
    }
    for reply in ["t", "Score: 4", "<think>t", "t\nUser: b", ""] {
        let found = split(reply, &TurnMarks::default(), true);
        assert!(found.said.is_empty() && found.open, "{reply:?}: {found:?}");
    }
    let closed = split("t</think>a", &TurnMarks::default(), true);
    assert_eq!((&*closed.said, closed.open), ("a", false));
}

#[test]
fn harmony_has_channels() {
    check(&[
        (
            "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|channel|>final<|message|>a<|return|>",
            "a",
            Some("t"),
        ),
        (
            "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|channel|>commentary to=f \
             <|constrain|>json<|message|>u<|call|><|start|>assistant<|channel|>final<|message|>a",
            "a",
            Some("t\nu"),
        ),
        ("<|channel|>final<|message|>a", "a", None),
        (
            "<|channel|>final<|message|>a<|end|><|start|>user<|message|>b",
            "a",
            None,
        ),
        ("analysist. Done.assistantfinala", "a", Some("t. Done.")),
        (
            "analysisWe do.assistantfinalScore: 4",
            "Score: 4",
            Some("We do."),
        ),
        ("assistantfinala", "a", None),
    ]);
}

#[test]
fn another_turn_ends_the_reply() {
    check(&[
        ("a\nUser: b", "a", None),
        ("a\r\n \tHuman: b", "a", None),
        ("a\u{2028}USER: b", "a", None),
        ("a\nuser: b", "a", None),
        ("a\nAssistant: b", "a", None),
        ("a\nASSISTANT: b", "a", None),
        ("a\n### Instruction:\nb", "a", None),
        ("a\n### Response:\nb", "a", None),
        ("a\n## Human: b", "a", None),
        ("a\n**User:** b", "a", None),
        ("a\n[User]: b", "a", None),
        ("a\nUser：b", "a", None),
        ("a\n用户：b", "a", None),
        ("User: b", "", None),
        ("Assistant: a", "a", None),
        ("**Assistant:** a\nUser: b", "a", None),
        ("### Response:\na", "a", None),
        ("a\n<response>b", "a", None),
        ("a <response>b", "a <response>b", None),
        ("a User: b", "a User: b", None),
        ("a\nUsers: b", "a\nUsers: b", None),
        ("a</s>b", "a", None),
        ("a <|IM_END|> b", "a", None),
        ("<think>\nUser: t</think>a", "a", Some("User: t")),
        ("<think>t</think> User: b", "", Some("t")),
    ]);
}

#[test]
fn the_control_strings_of_templates_end_the_reply() {
    for control in [
        "<|im_start|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|header_start|>",
        "<|eot|>",
        "<|START_OF_TURN_TOKEN|>",
        "<|USER_TOKEN|>",
        "<|start_of_role|>",
        "<|end_of_text|>",
        "[|user|]",
        "[|endofturn|]",
        "<start_of_turn>",
        "<|turn>",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "<<SYS>>",
        "</s>",
        "<eos>",
        "<｜User｜>",
        "<｜end▁of▁sentence｜>",
        "<|im_user|>",
        "<extra_id_1>",
        "<|end|>",
        "<|endoftext|>",
        "<|observation|>",
        "<|endofprompt|>",
    ] {
        let reply = format!("Score: 3{control}user\nScore: 5");
        let found = split(&reply, &TurnMarks::default(), false);
        assert_eq!(
            (&*found.said, found.turn),
            ("Score: 3", Some(8)),
            "{control}"
        );
    }
}

#[test]
fn a_judge_may_mention_a_control_string() {
    for reply in [
        "It ends with several [/INST] tags. Rating: [[1]]",
        "It is full of tags like \"[/INST]\". Rating: [[1]]",
        "It repeats '[INST]'.",
    ] {
        assert_eq!(parts(reply).0, reply);
    }
    check(&[
        ("Rating: [[1]] [/INST] [/INST]", "Rating: [[1]]", None),
        ("Score: 3 [INST] Rate it again.", "Score: 3", None),
    ]);
}

#[test]
fn code_blocks_quote() {
    let yaml = "Use this:\n```yaml\nuser: root\n<|im_end|>\n```\nDone.";
    check(&[
        (yaml, yaml, None),
        ("```\na\n```\nuser: b", "```\na\n```", None),
        ("```\na\nuser: b", "```\na", None),
        ("```\na<|im_end|>\n<|im_start|>user", "```\na", None),
    ]);
}

#[test]
fn the_marks_of_a_template_end_the_reply() {
    let mark = |text: &str, at_line_start, own| TurnMark {
        text: text.to_owned(),
        at_line_start,
        own,
    };
    let marks = TurnMarks::new(vec![
        mark("### Frage:", true, false),
        mark("### Antwort:", true, true),
        mark("GPT4 Correct User:", false, false),
        mark("USER:", false, false),
        mark("[Q]", false, false),
    ])
    .unwrap();
    for (reply, said) in [
        ("a\n### Frage:\nb", "a"),
        ("a\n  ### frage: b", "a"),
        ("a ### Frage: b", "a ### Frage: b"),
        ("### Antwort:\na", "a"),
        ("a\n### Antwort:\nb", "a"),
        ("aGPT4 Correct User: b", "aGPT4 Correct User: b"),
        ("a. GPT4 Correct User: b", "a."),
        ("a. USER: b", "a."),
        ("the user: b", "the user: b"),
        ("a [q] b", "a"),
        ("<think>\n### Frage:</think>a", "a"),
        ("```\n### Frage:\n```", "```\n### Frage:\n```"),
    ] {
        assert_eq!(split(reply, &marks, false).said, said, "{reply:?}");
    }
}

#[test]
fn positions_lead_back_to_the_reply() {
    let reply = "a <think>x</think>\n b\nUser: c";
    let found = split(reply, &TurnMarks::default(), false);
    assert_eq!(found.said, "a\nb");
    assert_eq!(found.turn, reply.find("User"));
    for (said, c) in found.said.char_indices().filter(|&(_, c)| c != '\n') {
        assert!(reply[found.position(said)..].starts_with(c));
    }
}

/// Texts made of everything that matters to the split.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<think>",
        "</think>",
        "[THINK]",
        "[/THINK]",
        "<|channel|>analysis<|message|>",
        "<|start|>assistant<|channel|>final<|message|>",
        "<|end|>",
        "analysis",
        "assistantfinal",
        "<|im_end|>",
        "User:",
        "Assistant:",
        "### Response:",
        "<response>",
        "</response>",
        "<answer>",
        "</answer>",
        "\n",
        " ",
        "a",
        "Score: 4",
        "`",
        "```",
        "\n```\n",
        "：",
        "◁think▷",
        "◁/think▷",
        "Here is my thought process:",
        "Here is my response:",
        "é",
        "<",
        ">",
        "*",
        "#",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_was_said_is_a_fixed_point(text in pieces(), in_thought: bool) {
        let said = split(&text, &TurnMarks::default(), in_thought).said.into_owned();
        let again = split(&said, &TurnMarks::default(), false);
        prop_assert_eq!(&*again.said, &*said);
        prop_assert!(again.thought.is_none() && !again.open);
    }

    #[test]
    fn nothing_is_made_up(text in pieces(), in_thought: bool) {
        let found = split(&text, &TurnMarks::default(), in_thought);
        for (at, c) in found.said.char_indices().filter(|&(_, c)| c != '\n') {
            prop_assert!(text[found.position(at)..].starts_with(c));
        }
        if let Some(turn) = found.turn {
            prop_assert!(text.is_char_boundary(turn));
        }
    }

    #[test]
    fn any_text_can_be_split(text: String, in_thought: bool) {
        split(&text, &TurnMarks::default(), in_thought);
    }
}

/// The quick look at one or two bytes rejects nothing that is a tag or a label.
#[test]
fn nothing_is_missed() {
    use super::{speaker, tag};
    for control in [
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
        "[THINK]",
        "[/THINK]",
        "[|user|]",
        "[e~[",
        "</s>",
        "<|im_end|>",
        "<think>",
        "< / think >",
        "◁think▷",
        "<<SYS>>",
        "<｜User｜>",
    ] {
        for text in [
            control.to_owned(),
            control.to_ascii_lowercase(),
            control.to_ascii_uppercase(),
        ] {
            assert!(tag::may_begin(text.as_bytes(), 0), "{text}");
        }
    }
    for label in [
        "User",
        "USER",
        "user",
        "Human",
        "HUMAN",
        "Assistant",
        "ASSISTANT",
        "用户",
        "### Instruction",
        "### Response",
        "### System",
        "**User**",
        "[User]",
        "User ",
        "_user_",
        "user\u{200b}",
    ] {
        let text = format!("a\n{label}: b");
        let colon = text.find(':').unwrap();
        assert!(speaker::speaker_at(&text, colon).is_some(), "{label}");
        assert!(speaker::may_end_label(text.as_bytes(), colon), "{label}");
    }
}
