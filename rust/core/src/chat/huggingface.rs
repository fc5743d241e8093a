//! Calls into Hugging Face's `tokenizers`, the reference implementation.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::Tokenizer;

use crate::Error;

/// Switches off truncation and padding, which change the number of tokens.
pub(super) fn disable_truncation_and_padding(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    Ok(())
}

/// The ids of a text without the post-processor's tokens. A panic of `tokenizers`
/// (some `tokenizer.json` files cause one) is returned as an error.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let failed = |reason| Error::Tokenize { reason };
    match catch_unwind(AssertUnwindSafe(|| tokenizer.encode_fast(text, false))) {
        Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("`tokenizers` panicked".to_owned())),
    }
}
