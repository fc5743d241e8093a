//! The parts of a self-rewarding loop that read and compare a lot of text.
//!
//! In self-rewarding training (Yuan et al., "Self-Rewarding Language Models",
//! <https://arxiv.org/abs/2401.10020>) a model writes several answers to a
//! prompt, judges them itself, and the best and the worst answer become a DPO
//! pair. This crate holds what that needs besides the model:
//!
//! * [`chat`] turns messages into token ids,
//! * [`verdict`] reads the score out of a judge's reply,
//! * [`pair`] chooses the preference pairs,
//! * [`dedup`] finds exact and near duplicates,
//! * [`novelty`] rejects new prompts that resemble kept ones (ROUGE-L),
//! * [`jsonl`] reads a column of text out of JSON lines,
//! * [`text`] gives a key under which trivially different texts are equal,
//! * [`parallel`] says when any of it uses more than one thread.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chat;
pub mod dedup;
pub mod error;
pub mod jsonl;
pub mod novelty;
pub mod pair;
pub mod parallel;
pub mod text;
pub mod verdict;

pub use error::Error;
