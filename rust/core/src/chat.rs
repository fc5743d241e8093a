//! From messages to token ids.
//!
//! Renders conversations with the model's chat template and tokenises them, for
//! many conversations at once:
//!
//! * [`Tokenizer`] returns the ids of Hugging Face's `tokenizers` for every
//!   `tokenizer.json`, with a fast lane for text on which both agree,
//! * [`ChatTemplate`] renders messages as transformers does,
//! * [`ChatEncoder`] combines the two, and distinguishes the template's tokens
//!   from message contents: the string of a special token inside a message
//!   stays text, so no answer can end its own turn,
//! * [`Ragged`] stores rows of ids in one flat array.

mod encoder;
mod fast_lane;
mod huggingface;
mod metaspace;
mod plain_text_tokenizer;
mod probe_texts;
mod python_str;
mod ragged;
mod special;
mod special_marks;
mod template;
#[cfg(test)]
mod test_tokenizers;
mod tokenizer;
mod unmerged_pieces;

pub use encoder::{Answer, ChatEncoder, Rendered};
pub use fast_lane::LaneRefusal;
pub use ragged::{Ragged, Rows};
pub use template::{ChatTemplate, Message};
pub use tokenizer::Tokenizer;
