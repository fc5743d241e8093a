//! Probe texts on which a fast lane must agree with `tokenizers`.

/// A character in the contexts in which tokenizers treat characters
/// differently: between blanks, letters, capitals, digits and marks, before an
/// English suffix, after a line feed, among combining marks.
pub(super) fn character(c: char) -> String {
    format!(" {c}a{c} A{c}1{c}'s{c}\n{c}. {c} a\u{301}{c}\u{323}{c}{c}")
}

/// Texts that cover the behaviour of a tokenizer: every ASCII character, runs
/// of white space, contractions, numbers, several scripts, code, and each added
/// token alone, doubled, and among white space and letters.
pub(super) fn texts<'a>(added: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut texts: Vec<String> = TEXTS.iter().map(|&text| text.to_owned()).collect();
    texts.extend((0..128).filter_map(char::from_u32).map(character));
    for token in added {
        texts.push(token.to_owned());
        texts.push(format!("{token}{token} {token}\n\n{token}a {token} "));
        texts.push(format!("a{token}  b{token}\u{e9}{token}1 \t{token}\n"));
    }
    texts
}

/// The number of vocabulary entries that are probed, evenly spaced.
const ENTRIES: usize = 4096;

/// Texts made of vocabulary entries, to cover the merges: entries separated by
/// blanks, and the same without.
pub(super) fn vocabulary<'a>(entries: impl ExactSizeIterator<Item = &'a String>) -> Vec<String> {
    let step = entries.len().div_ceil(ENTRIES).max(1);
    let words: Vec<String> = entries
        .step_by(step)
        .map(|entry| {
            entry
                .replace(['\u{120}', '\u{2581}'], " ")
                .replace('\u{10a}', "\n")
        })
        .collect();
    let spaced = words.chunks(64).map(|some| some.join(" "));
    let joined = words.chunks(64).map(|some| some.concat());
    spaced.chain(joined).collect()
}

const TEXTS: [&str; 22] = [
    "",
    " ",
    "  ",
    "\n",
    " \n ",
    "\r\n\r\n\t x\n\n\n  y   \n",
    "Hello world, HELLO WORLD, hElLo wOrLd.",
    "I'm you're he'll we've she'd it's I'M YOU'RE HE'LL can't 'tis o'clock ''''s",
    "0 1 12 123 1234 12345 3.14159 1,000,000 0x1F 1e-9 a1b2c3",
    "fn main() {\n    println!(\"{}\", x[0]); // done\n\treturn;\n}\n",
    "https://example.org/a/b?c=d&e=%20#f user@example.org C:\\dir\\file.txt",
    "# Title\n\n* one\n* two\n\n| a | b |\n|---|---|\n> quote -- and --- dashes...",
    "caf\u{e9} cafe\u{301} na\u{ef}ve \u{dc}berma\u{df} \u{130}stanbul \u{1c5}",
    "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{3b3}\u{3b5}\u{3b9}\u{3ac} \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{645}\u{631}\u{62d}\u{628}\u{627}",
    "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}\u{3002}\u{3053}\u{3093}\u{306b}\u{3061}\u{306f} \u{c548}\u{b155}\u{d558}\u{c138}\u{c694}",
    "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940} \u{e44}\u{e17}\u{e22} \u{1f600}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f1e9}\u{1f1ea}",
    "\u{a0}\u{2003}x\u{2028}y\u{3000}z\u{feff}\u{200b}\u{85}",
    "\u{fb01}\u{2460}\u{bd}\u{663}\u{967}\u{212a}\u{17f}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...---===___///***   \t\t\t   ",
    "\u{2581}x \u{2581}\u{2581} ##ing <0x0A> </w> \u{120}a",
    "a\u{0}b\u{1}c\u{7f}\u{fffd}\u{fdd0}\u{ffff}\u{10ffff}",
];
