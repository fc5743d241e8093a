//! The CPU-heavy text processing of a self-rewarding loop.
//!
//! In self-rewarding training (Yuan et al., "Self-Rewarding Language Models",
//! <https://arxiv.org/abs/2401.10020>) a model writes several answers to a
//! prompt, judges them itself, and the best and the worst answer become a DPO
//! pair. This crate implements the steps around the model:
//!
//! * [`chat`] turns messages into token ids,
//! * [`reply`] separates what a model said from its thoughts and further turns,
//! * [`escape`] keeps a judged answer from ending its judge's question,
//! * [`verdict`] parses the score in a judge's reply,
//! * [`pair`] selects the preference pairs,
//! * [`dedup`] finds exact and near duplicates,
//! * [`novelty`] rejects new prompts that are too similar to kept ones
//!   (ROUGE-L),
//! * [`jsonl`] reads a text field from JSON lines,
//! * [`text`] normalises texts and hashes the normal form,
//! * [`trie`] lays out rows of token ids so that shared beginnings exist once,
//! * [`words`] counts words and finds keywords, in any script,
//! * [`parallel`] decides when work is split over threads.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chat;
pub mod dedup;
pub mod error;
pub mod escape;
pub mod jsonl;
pub mod novelty;
pub mod pair;
pub mod parallel;
pub mod reply;
pub mod text;
pub mod trie;
pub mod verdict;
pub mod words;

pub use error::Error;
