//! What a model said in a reply, and what it only thought.
//!
//! A reply may hold a reasoning block, a repeated role label, and further turns
//! of the conversation. Verdicts, generated prompts, answers and everything
//! that is derived from them come from what was *said*: the text outside
//! thoughts, before another turn begins.
//!
//! * **Thoughts** are delimited by tags such as `<think>`, `[THINK]`,
//!   `<|START_THINKING|>` or `◁think▷`, by the channels of the Harmony format
//!   (also with its special tokens stripped), or by Granite's phrases. The
//!   prompt may have opened the thought. A thought without an end means that
//!   nothing was said.
//! * **Another turn** begins at a control string of a chat template
//!   (`<|im_end|>`, `[INST]`), at a line that starts with a speaker (`User:`,
//!   `### Human:`), or at a mark of the template in use ([`TurnMarks`]).
//! * A tag or mark between backticks or in a closed code block is a quotation.
//!
//! What was said is a fixed point: split again, it is unchanged.

mod harmony;
mod lines;
mod marks;
mod plain_thought;
mod scan;
mod speaker;
mod split;
mod tag;

pub(crate) use lines::{is_blank, is_line_break};
pub use marks::{TurnMark, TurnMarks};
pub use split::{Reply, split};
pub(crate) use tag::is_control_at;

#[cfg(test)]
mod tests;
