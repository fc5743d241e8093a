//! The words that the label rules know, and the classes they belong to.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::cursor::Cursor;

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u32);

impl Class {
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two sets share a class.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Words that make a label the final one.
pub(super) const FINAL: Class = Class(1 << 0);

/// Nouns that may stand between a final word and the separator instead of
/// `score`, as in `Total points: 3` and `Overall rating: 4/5`.
pub(super) const FINAL_NOUNS: Class = Class(1 << 1);

/// Words before the label that introduce the scale instead of a verdict, as in
/// `the maximum score is 5`.
pub(super) const SCALE_LABELS: Class = Class(1 << 2);

/// Words before the label that do not make it the label of another quantity.
pub(super) const MODIFIERS: Class = Class(1 << 3);

/// Words that begin the noun phrase of a label.
pub(super) const DETERMINERS: Class = Class(1 << 4);

/// Words before the noun phrase of a label: connectives, and verbs that award.
pub(super) const CLAUSE: Class = Class(1 << 5);

/// Nouns that may own a label (`Verdict: Score: 4`): they name no other
/// quantity.
pub(super) const OWNERS: Class = Class(1 << 6);

/// Verbs by which a sentence is told from a noun phrase.
pub(super) const VERBS: Class = Class(1 << 7);

/// Words between the label and its separator, as in `Score for this response: 4`.
pub(super) const AFTER_LABEL: Class = Class(1 << 8);

/// Units of a score, also directly behind a digit (`4pts`).
pub(super) const UNITS: Class = Class(1 << 9);

/// Words that mark a number as the scale.
pub(super) const SCALE_MARKERS: Class = Class(1 << 10);

/// Words that may stand beside the markers.
pub(super) const SCALE_WORDS: Class = Class(1 << 11);

/// Words that may directly follow the number: they begin a remark.
pub(super) const REMARKS: Class = Class(1 << 12);

/// Words after which a remark gives its reason and may count other things, as
/// in `4 because it misses one detail`.
pub(super) const REASONS: Class = Class(1 << 13);

/// Words of arithmetic and of alternatives.
pub(super) const ARITHMETIC: Class = Class(1 << 14);

/// Words that cannot be the noun that a number counts.
pub(super) const FUNCTION: Class = Class(1 << 15);

/// Words for numbers, ordinals and fractions in a remark.
pub(super) const NUMBERS: Class = Class(1 << 16);

/// Words after a number in prose that make it a difference between scores.
pub(super) const COMPARISONS: Class = Class(1 << 17);

/// Words for the percent sign.
pub(super) const PERCENT: Class = Class(1 << 18);

/// Words of the scale that may end its phrase.
pub(super) const SCALE_ENDS: Class = Class(1 << 19);

/// Words before `one` that make it a pronoun, as in `a good one`.
pub(super) const ARTICLES: Class = Class(1 << 20);

/// The words of each class, in lower case, separated by blanks.
const WORDS: [(Class, &str); 21] = [
    (FINAL, "total final overall"),
    (
        FINAL_NOUNS,
        "points point rating grade mark marks verdict judgment judgement assessment evaluation \
         awarded earned given assigned",
    ),
    (
        SCALE_LABELS,
        "max maximum highest min minimum lowest possible perfect full",
    ),
    (
        MODIFIERS,
        "assigned awarded given earned resulting corresponding numeric numerical integer \
         appropriate suggested proposed deserved following single actual correct revised updated \
         corrected adjusted new grand judge judgment judgement evaluation rating response answer \
         reply output assistant model ai points נקודות fair honest",
    ),
    (DETERMINERS, "the a an my your our its his her their this"),
    (
        CLAUSE,
        "therefore thus so hence then and accordingly consequently finally conclude is are was be \
         that with as at for in it here think believe say give gives given giving gave assign \
         assigns assigned assigning award awards awarded awarding deserve deserves earn earns \
         receive receives merit merits get gets warrant warrants response answer reply this means \
         suggest propose",
    ),
    (
        OWNERS,
        "score scores scoring rating ratings verdict evaluation judgment judgement judge \
         assessment analysis review conclusion result results summary response answer reply \
         output feedback explanation justification reasoning rationale reason critique comment \
         comments grade grading points point mark marks data json assistant model ai note \
         thoughts content text message of to on step s total",
    ),
    (
        VERBS,
        "rate rated is are was were has have had does do did gives give deserves deserve earns receives gets \
         meets addresses provides answers lacks misses contains includes fails seems looks could \
         can should would will must may might be been shows makes",
    ),
    (
        AFTER_LABEL,
        "given assigned awarded obtained earned for this the response answer reply assistant \
         model output",
    ),
    (
        UNITS,
        "points point pts pt stars star punkte punkten punkt sterne sternen étoiles étoile puntos \
         punto estrellas estrella pontos ponto punti stelle балл балла баллов баллы очков очка \
         punten poäng 分 点 點 점 星 נקודות marks",
    ),
    (
        SCALE_MARKERS,
        "out of on von aus auf sur de sobre en su di из по van op av på max maximum maximal \
         highest scale skala escala scala échelle echelle шкале schaal best 满分 滿分 満点 满分为 range",
    ),
    (
        SCALE_WORDS,
        "a an the from to through total possible available score is being with where insgesamt \
         möglichen maximalen einer der bis une à una un al del uma da do от до max full based sum \
         between whole number numbers integer inclusive additive",
    ),
    (
        REMARKS,
        "because since as for due given but though although while whereas with without in on at \
         that which so thus therefore hence overall however it its this the i my we is based \
         considering reflecting indicating meaning only too here there weil da denn parce car \
         porque perché потому maximum exactly total altogether rather",
    ),
    (REASONS, "because since as due considering"),
    (
        ARITHMETIC,
        "plus minus times add added adding subtract subtracted deduct deducted deducting \
         deduction remove removed take taken less bonus penalty total sum equals equal or oder ou \
         или versus vs rather instead actually more fewer extra another additional lost lose off \
         down up reduced raised increased lowered",
    ),
    (
        FUNCTION,
        "is was are would will may might could should can be been seems seemed felt feels or and \
         to out of if when as because since for in on at by with than but not only too also \
         really then from instead rather it",
    ),
    (
        NUMBERS,
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen \
         fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy \
         eighty ninety hundred thousand dozen half halves quarter quarters twice thrice first \
         second third thirds fourth fourths fifth fifths sixth seventh eighth ninth tenth tenths \
         percent null eins zwei drei vier fünf sechs sieben acht neun zehn halb deux trois quatre \
         cinq sept huit neuf dix demi dos tres cuatro cinco seis siete ocho nueve diez medio dois \
         três quatro sete oito nove dez quattro cinque sette otto ноль один два три четыре пять \
         шесть семь восемь девять десять половина",
    ),
    (
        COMPARISONS,
        "below above under over lower higher less more short",
    ),
    (PERCENT, "percent prozent cent procent porcento процентов"),
    (
        SCALE_ENDS,
        "scale skala escala scala possible total maximum max available best möglichen insgesamt",
    ),
    (ARTICLES, "a an the this that no any every each"),
];

/// The length in bytes of the longest word.
const MAX_WORD: usize = 24;

static CLASSES: LazyLock<FxHashMap<&str, Class>> = LazyLock::new(|| {
    let mut classes = FxHashMap::default();
    for (class, words) in WORDS {
        for word in words.split_ascii_whitespace() {
            debug_assert!(word.len() <= MAX_WORD);
            let entry = classes.entry(word).or_insert(Class(0));
            *entry = entry.or(class);
        }
    }
    classes
});

/// The classes of `word`, in any case.
pub(super) fn classes(word: &str) -> Class {
    if word.len() > MAX_WORD {
        return Class(0);
    }
    let found = if word.is_ascii() {
        let mut lower = [0; MAX_WORD];
        let lower = &mut lower[..word.len()];
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        std::str::from_utf8(lower)
            .ok()
            .and_then(|word| CLASSES.get(word))
    } else {
        CLASSES.get(word.to_lowercase().as_str())
    };
    found.copied().unwrap_or(Class(0))
}

/// Whether `word`, in any case, belongs to one of the classes.
pub(super) fn is_in(word: &str, class: Class) -> bool {
    classes(word).has(class)
}

/// Skips the word at the cursor if it belongs to one of the classes.
pub(super) fn eat(cursor: &mut Cursor, class: Class) -> bool {
    let word = word_at(*cursor);
    let found = !word.is_empty() && is_in(word, class);
    if found {
        cursor.at += word.len();
    }
    found
}

/// The run of letters and digits at the cursor, cut after some that no word
/// reaches.
pub(super) fn word_at(cursor: Cursor<'_>) -> &str {
    let mut end = cursor;
    while end.at <= cursor.at + 4 * MAX_WORD && end.eat_if(char::is_alphanumeric).is_some() {}
    &cursor.text[cursor.at..end.at]
}

/// The words of a text: its runs of letters and digits.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// The word at the end of `text`; empty if it does not end with one.
pub(super) fn last_word(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| c.is_alphanumeric())
        .last();
    start.map_or("", |(at, _)| &text[at..])
}
