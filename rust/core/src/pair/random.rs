//! Sampling one pair per prompt; see [`Method::Random`](super::Method::Random).

use rustc_hash::FxHashMap;

use super::answer::Answer;
use super::columns::Columns;
use super::rules::Rules;

/// Samples pairs, with reusable buffers.
#[derive(Debug, Default)]
pub(super) struct PairSampler<'a> {
    /// The scores of the answers that may be rejected, ascending.
    scores: Vec<f64>,
    /// The number of each answer's text.
    texts: Vec<usize>,
    /// Text number and score of each answer that may be rejected, ascending.
    by_text: Vec<(usize, f64)>,
    number_of: FxHashMap<&'a str, usize>,
    /// The number of pairs in which each answer is the chosen one.
    weights: Vec<u64>,
}

impl<'a> PairSampler<'a> {
    /// The rows of a uniformly sampled pair that reaches the margin and is not
    /// the same text; `None` if there is none. Takes n log n steps for n
    /// answers.
    pub fn sample<T: AsRef<str>>(
        &mut self,
        columns: &Columns<'a, T>,
        rules: &Rules,
        answers: &[Answer],
        key: (u64, i64),
    ) -> Option<(usize, usize)> {
        self.prepare(columns, answers);
        self.weights.clear();
        for (at, answer) in answers.iter().enumerate() {
            let weight = if columns.may_be_chosen(answer.row) {
                self.partners(rules, answer, self.texts[at])
            } else {
                0
            };
            self.weights.push(weight);
        }
        let mut left = random_below(self.weights.iter().sum(), key)?;
        let chosen = self.weights.iter().position(|&weight| {
            let here = left < weight;
            left -= if here { 0 } else { weight };
            here
        })?;
        let good = answers[chosen];
        let mut partners = answers.iter().zip(&self.texts).filter(|(bad, text)| {
            rules.reaches(good.score - bad.score)
                && **text != self.texts[chosen]
                && columns.may_be_rejected(bad.row)
        });
        let (bad, _) = partners.nth(left as usize)?;
        Some((good.row, bad.row))
    }

    fn prepare<T: AsRef<str>>(&mut self, columns: &Columns<'a, T>, answers: &[Answer]) {
        let may_be_rejected = |answer: &&Answer| columns.may_be_rejected(answer.row);
        self.scores.clear();
        self.scores.extend(
            answers
                .iter()
                .filter(may_be_rejected)
                .map(|answer| answer.score),
        );
        self.scores.sort_unstable_by(f64::total_cmp);
        self.number_of.clear();
        self.texts.clear();
        for (at, answer) in answers.iter().enumerate() {
            let text = columns.trimmed(answer.row);
            let number = text.map_or(at, |text| *self.number_of.entry(text).or_insert(at));
            self.texts.push(number);
        }
        self.by_text.clear();
        let with_text = answers.iter().zip(&self.texts);
        self.by_text.extend(
            with_text
                .filter(|(answer, _)| may_be_rejected(answer))
                .map(|(answer, text)| (*text, answer.score)),
        );
        self.by_text
            .sort_unstable_by(|left, right| left.0.cmp(&right.0).then(left.1.total_cmp(&right.1)));
    }

    /// The number of answers with another text that can be rejected against
    /// `good`.
    fn partners(&self, rules: &Rules, good: &Answer, text: usize) -> u64 {
        // The difference decreases as the score increases, also after rounding,
        // so the scores that reach the margin come first.
        let reaches = |score: f64| rules.reaches(good.score - score);
        let all = self.scores.partition_point(|&score| reaches(score));
        let first = self.by_text.partition_point(|entry| entry.0 < text);
        let same = self.by_text[first..]
            .partition_point(|&(other, score)| other == text && reaches(score));
        (all - same) as u64
    }
}

/// A pseudorandom number below `limit` for the seed and the prompt; `None` if
/// `limit` is 0.
fn random_below(limit: u64, (seed, prompt): (u64, i64)) -> Option<u64> {
    let sampled = mix(mix(seed).wrapping_add(prompt as u64));
    let scaled = (u128::from(sampled) * u128::from(limit)) >> 64;
    (limit > 0).then_some(scaled as u64)
}

/// The finaliser of SplitMix64, including its increment.
fn mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_splitmix64() {
        // The first numbers of the reference generator from the state 1234567.
        let gamma = 0x9E37_79B9_7F4A_7C15_u64;
        let sampled: Vec<u64> = (0..3)
            .map(|n| mix(1_234_567_u64.wrapping_add(gamma.wrapping_mul(n))))
            .collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(sampled, expected);
    }

    #[test]
    fn draws_are_spread_evenly() {
        let mut counts = [0_u32; 6];
        for seed in 0..4 {
            for prompt in 0..15_000 {
                counts[random_below(6, (seed, prompt)).unwrap() as usize] += 1;
            }
        }
        // 10 000 each; six standard deviations of a binomial are 550.
        assert!(
            counts.iter().all(|count| count.abs_diff(10_000) < 550),
            "{counts:?}"
        );
        assert_eq!(random_below(0, (0, 0)), None);
        assert_eq!(random_below(1, (5, -5)), Some(0));
    }
}
