"""Small tokenizers of every kind and unusual texts, generated on the fly. Imports nothing heavy."""

import random

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

SPECIAL = ["<unk>", "<|start|>", "<|end|>", "<pad>"]
CORPUS = [
    "the quick brown fox jumps over the lazy dog, and doesn't mind that it's been 12 years.",
    "models judge the answers that they write\n\n  and learn from the best of them\tUSER assistant",
    "cafe\u0301 na\u00efve \u041f\u0440\u0438\u0432\u0435\u0442 \u4f60\u597d \U0001f600 def add(a, b): return a + b",
]


def trained(kind: str) -> Tokenizer:
    """A small tokenizer of each kind."""
    special = [*SPECIAL]
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    elif kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    elif kind == "byte fallback":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        special += [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "prefix space")
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def random_texts(count: int, seed: int = 0) -> list[str]:
    chooser = random.Random(seed)
    pieces = [
        lambda: chooser.choice(CORPUS)[chooser.randrange(40) :][: chooser.randrange(30)],
        lambda: chooser.choice([" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2028", "\u3000", "\x1f", "\0"]),
        lambda: chooser.choice(["'s", "'LL", "\ufb01", "\u212a", "\u0130", "e\u0301", "\u2581", "##", "\ufdd0"]),
        lambda: chr(chooser.choice([chooser.randrange(0x20, 0xD7FF), chooser.randrange(0x1F000, 0x1FAFF)])),
        lambda: chr(chooser.randrange(0x10000, 0x110000)),
        lambda: chooser.choice([*SPECIAL, "<0x0A>", "<|", "|>"]),
    ]
    return ["".join(chooser.choice(pieces)() for _ in range(chooser.randrange(12))) for _ in range(count)]
