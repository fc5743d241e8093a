//! Messages to token ids.
//!
//! Between the engine and the trainer a conversation is rendered by its model's
//! chat template and cut into tokens. Both are done here, for many conversations
//! at once:
//!
//! * [`Tokenizer`] gives the ids of Hugging Face's `tokenizers` for every
//!   `tokenizer.json`, over a fast lane where that has been shown to agree,
//! * [`ChatTemplate`] renders messages as transformers does,
//! * [`ChatEncoder`] joins the two, and keeps apart what a template writes from
//!   what a message says: the string of a special token inside a message stays
//!   text, so no answer can end its own turn,
//! * [`Ragged`] holds rows of ids one behind the other.

mod encoder;
mod guarded;
mod lane;
mod marks;
mod metaspace;
mod probe;
mod python_str;
mod ragged;
mod special;
mod template;
#[cfg(test)]
mod tiny;
mod tokenizer;
mod unmerged;

pub use encoder::{Answer, ChatEncoder, Rendered};
pub use lane::LaneRefusal;
pub use ragged::{Ragged, Rows};
pub use template::{ChatTemplate, Message};
pub use tokenizer::Tokenizer;
