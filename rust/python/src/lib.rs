//! The extension module `srlm._native`: conversions between Python and
//! `srlm-core`.
//!
//! Every function copies or borrows its arguments, releases the GIL during the
//! computation, and converts the result. The type stubs are in
//! `python/srlm/_native.pyi`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod chat;
mod columns;
mod duplicates;
mod error;
mod jsonl;
mod keys;
mod novelty;
mod pairs;
mod replies;
mod texts;
mod tries;
mod verdicts;
mod words;

use pyo3::prelude::*;

/// Verdicts, preference pairs, novelty and JSON lines, in Rust.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add(
        "ChatTemplateError",
        module.py().get_type::<error::ChatTemplateError>(),
    )?;
    module.add_class::<chat::ChatEncoder>()?;
    module.add_class::<duplicates::NearDuplicateIndex>()?;
    module.add_class::<novelty::NoveltyIndex>()?;
    module.add_class::<replies::PromptEscaper>()?;
    module.add_class::<replies::Reply>()?;
    module.add_class::<replies::TurnMarks>()?;
    module.add_function(wrap_pyfunction!(duplicates::exact_duplicates, module)?)?;
    module.add_function(wrap_pyfunction!(duplicates::near_duplicates, module)?)?;
    module.add_function(wrap_pyfunction!(keys::normal_keys, module)?)?;
    module.add_function(wrap_pyfunction!(novelty::rouge_l, module)?)?;
    module.add_function(wrap_pyfunction!(pairs::mean_scores, module)?)?;
    module.add_function(wrap_pyfunction!(pairs::select_pairs, module)?)?;
    module.add_function(wrap_pyfunction!(pairs::select_positives, module)?)?;
    module.add_function(wrap_pyfunction!(jsonl::read_text_column, module)?)?;
    module.add_function(wrap_pyfunction!(tries::prefix_trie, module)?)?;
    module.add_function(wrap_pyfunction!(tries::shared_prefixes, module)?)?;
    module.add_function(wrap_pyfunction!(words::count_words, module)?)?;
    module.add_function(wrap_pyfunction!(words::first_keywords, module)?)?;
    module.add_function(wrap_pyfunction!(verdicts::expected_scores, module)?)?;
    module.add_function(wrap_pyfunction!(verdicts::parse_verdicts, module)?)
}
