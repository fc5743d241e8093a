//! Conversations to rows of ids.

use std::borrow::Cow;

use super::marks::Marks;
use super::python_str;
use super::ragged::{self, Ragged, Rows};
use super::template::{ChatTemplate, Message};
use super::tokenizer::{Tokenizer, lane_is_usable};
use crate::Error;

/// An answer to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Its messages, still to be rendered and cut into tokens.
    Messages(&'a [Message<'a>]),
    /// Its ids as an engine wrote them, which are passed on as they are.
    Ids(&'a [u32]),
}

/// A conversation as its template writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt, with the mark of the assistant's turn.
    pub before: String,
    /// The prompt with an answer, one for each answer; None where the answer's
    /// ids are there already.
    pub wholes: Vec<Option<String>>,
    /// The code point that breaks up each special token's string that a message
    /// holds; 0 if there is none.
    pub marks: u32,
}

/// A chat template and a tokenizer.
pub struct ChatEncoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end: Option<(String, u32)>,
}

impl ChatEncoder {
    /// Joins the parts. Without a `template` conversations are rendered
    /// elsewhere. `end_token` ends an answer.
    ///
    /// # Errors
    /// [`Error::UnknownEndToken`]: the tokenizer does not have it.
    pub fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        end_token: Option<&str>,
    ) -> Result<Self, Error> {
        let end = match end_token {
            Some(token) => {
                let id = tokenizer.token_to_id(token);
                let id = id.ok_or_else(|| Error::UnknownEndToken {
                    token: token.to_owned(),
                })?;
                Some((token.to_owned(), id))
            }
            None => None,
        };
        Ok(Self {
            tokenizer,
            template,
            end,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Breaks up the strings of special tokens in the contents of a conversation, and
    /// what a template could complete to one; gives the code point that breaks them,
    /// 0 if the contents are as they were.
    ///
    /// # Errors
    /// [`Error::SpecialInRole`], [`Error::OneCharacterSpecial`] or
    /// [`Error::NoMarkLeft`].
    pub fn broken<'a>(&self, messages: &[Message<'a>]) -> Result<(u32, Vec<Cow<'a, str>>), Error> {
        let special = self.tokenizer.special();
        if let Some(message) = messages.iter().find(|it| special.occur_in(it.role)) {
            return Err(Error::SpecialInRole {
                role: message.role.to_owned(),
            });
        }
        let contents = || messages.iter().map(|message| message.content);
        if !contents().any(|content| special.threatened_by(content)) {
            return Ok((0, contents().map(Cow::Borrowed).collect()));
        }
        let marks = Marks::for_texts(contents());
        let mark = marks.0.ok_or(Error::NoMarkLeft)?;
        let broken: Result<_, Error> = contents().map(|it| special.broken(it, marks)).collect();
        Ok((mark.into(), broken?))
    }

    /// Renders messages as they are, special tokens' strings included.
    ///
    /// # Errors
    /// [`Error::Template`], or [`Error::InvalidTemplate`] if there is none.
    pub fn render_plain(
        &self,
        messages: &[Message<'_>],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        self.template()?.render(messages, add_generation_prompt)
    }

    fn template(&self) -> Result<&ChatTemplate, Error> {
        self.template
            .as_ref()
            .ok_or_else(|| Error::InvalidTemplate {
                reason: "there is none".to_owned(),
            })
    }

    /// Renders a prompt, and the prompt with each of its answers.
    ///
    /// # Errors
    /// [`Error::Template`], [`Error::OneCharacterSpecial`], [`Error::NoMarkLeft`],
    /// [`Error::SpecialInRole`], or [`Error::InvalidTemplate`] if there is none.
    pub fn render<'a>(
        &self,
        prompt: &[Message<'a>],
        answers: &[Answer<'a>],
    ) -> Result<Rendered, Error> {
        let template = self.template()?;
        let of_answer = |answer: &Answer<'a>| match answer {
            Answer::Messages(messages) => *messages,
            Answer::Ids(_) => &[],
        };
        let answered = answers.iter().flat_map(of_answer);
        let mut messages: Vec<Message<'_>> = prompt.iter().chain(answered).copied().collect();
        let (marks, contents) = self.broken(&messages)?;
        for (message, content) in messages.iter_mut().zip(&contents) {
            message.content = content;
        }
        let (prompt, mut rest) = messages.split_at(prompt.len());
        let whole = |answer: &Answer<'a>| {
            let (own, behind) = rest.split_at(of_answer(answer).len());
            rest = behind;
            match answer {
                Answer::Messages(_) => template.render(&[prompt, own].concat(), false).map(Some),
                Answer::Ids(_) => Ok(None),
            }
        };
        Ok(Rendered {
            wholes: answers.iter().map(whole).collect::<Result<_, _>>()?,
            before: template.render(prompt, true)?,
            marks,
        })
    }

    /// The ids of texts in which the strings of special tokens are tokens.
    ///
    /// # Errors
    /// [`Error::InRow`] with [`Error::Tokenize`].
    pub fn encode_texts<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Ragged, Error> {
        let lane = lane_is_usable();
        let [ids] = ragged::columns(texts.len(), |row| {
            Ok([self.tokenizer.encode_by(texts[row].as_ref(), lane)?])
        })?;
        Ok(ids)
    }

    /// The ids that an engine continues: each prompt, and behind it the `opening`
    /// of the assistant's turn.
    ///
    /// # Errors
    /// [`Error::InRow`] with those of `render`, or with [`Error::Tokenize`].
    pub fn encode_prompts(
        &self,
        rows: usize,
        render: impl Fn(usize) -> Result<Rendered, Error> + Sync + Send,
        opening: &str,
    ) -> Result<Ragged, Error> {
        let lane = lane_is_usable();
        let [ids] = ragged::columns(rows, |row| {
            let mut rendered = render(row)?;
            rendered.before.push_str(opening);
            Ok([self.ids(&rendered.before, rendered.marks, lane)?])
        })?;
        Ok(ids)
    }

    /// Prompts, each with the completion that `given` has or, where that is None,
    /// that was rendered.
    ///
    /// # Errors
    /// [`Error::InRow`] with those of `render`, with [`Error::PromptChanges`],
    /// [`Error::NoAnswer`] or [`Error::Tokenize`].
    pub fn encode_examples<'a>(
        &self,
        rows: usize,
        render: impl Fn(usize) -> Result<Rendered, Error> + Sync + Send,
        given: impl Fn(usize) -> [Option<&'a [u32]>; 1] + Sync + Send,
        keep_tail: bool,
    ) -> Result<Rows, Error> {
        let lane = lane_is_usable();
        let [rows, completions] = ragged::columns(rows, |row| {
            let rendered = render(row)?;
            let [completion] = self.completions(&rendered, given(row), keep_tail, lane)?;
            let mut ids = self.ids(&rendered.before, rendered.marks, lane)?;
            ids.extend(&completion);
            // Of the completion only the length is wanted.
            Ok([ids, vec![completion.len() as u32]])
        })?;
        let mut completion_mask = vec![false; rows.ids.len()];
        for (end, &length) in rows.offsets[1..].iter().zip(&completions.ids) {
            let end = *end as usize;
            completion_mask[end - length as usize..end].fill(true);
        }
        Ok(Rows {
            rows,
            completion_mask,
        })
    }

    /// Prompts, chosen and rejected answers, each as rows of their own.
    ///
    /// # Errors
    /// Those of [`Self::encode_examples`].
    pub fn encode_pairs<'a>(
        &self,
        rows: usize,
        render: impl Fn(usize) -> Result<Rendered, Error> + Sync + Send,
        given: impl Fn(usize) -> [Option<&'a [u32]>; 2] + Sync + Send,
        keep_tail: bool,
    ) -> Result<[Ragged; 3], Error> {
        let lane = lane_is_usable();
        ragged::columns(rows, |row| {
            let rendered = render(row)?;
            let [chosen, rejected] = self.completions(&rendered, given(row), keep_tail, lane)?;
            Ok([
                self.ids(&rendered.before, rendered.marks, lane)?,
                chosen,
                rejected,
            ])
        })
    }

    fn completions<const N: usize>(
        &self,
        rendered: &Rendered,
        given: [Option<&[u32]>; N],
        keep_tail: bool,
        lane: bool,
    ) -> Result<[Vec<u32>; N], Error> {
        let mut completions: [Vec<u32>; N] = std::array::from_fn(|_| Vec::new());
        for (at, ids) in given.into_iter().enumerate() {
            completions[at] = match (ids, rendered.wholes.get(at).and_then(Option::as_ref)) {
                (Some(ids), _) => ids.to_vec(),
                (None, Some(whole)) => self.completion(rendered, whole, keep_tail, lane)?,
                (None, None) => return Err(Error::NoAnswer),
            };
        }
        Ok(completions)
    }

    /// The ids of an answer as an engine would write it: its text as the template
    /// renders it, then the end token. What the template puts behind the end
    /// token (often a line feed) an engine never writes; with `keep_tail` it is
    /// there all the same.
    fn completion(
        &self,
        rendered: &Rendered,
        whole: &str,
        keep_tail: bool,
        lane: bool,
    ) -> Result<Vec<u32>, Error> {
        let text = whole.strip_prefix(rendered.before.as_str());
        let text = text.ok_or(Error::PromptChanges)?;
        let Some((end, end_id)) = self.end.as_ref().filter(|_| !keep_tail) else {
            return self.continuation(rendered, text, lane);
        };
        let text = match text.rfind(end.as_str()) {
            Some(at) => &text[..at],
            None => python_str::rstrip(text),
        };
        let mut ids = self.continuation(rendered, text, lane)?;
        ids.push(*end_id);
        Ok(ids)
    }

    /// The ids of a text behind a prompt: what the prompt's last turn and the text
    /// have more than the turn alone. If that turn's own ids would change, the
    /// text is cut as if it followed a special token: an engine, too, cannot take
    /// back the prompt's tokens.
    fn continuation(&self, rendered: &Rendered, text: &str, lane: bool) -> Result<Vec<u32>, Error> {
        let before = rendered.before.as_str();
        let last = self.tokenizer.special().taken(before).last();
        let (turn, token) = match &last {
            Some((range, _)) => (&before[range.start..], &before[range.clone()]),
            None => (before, ""),
        };
        for context in [turn, token] {
            let base = self.ids(context, rendered.marks, lane)?;
            let joined = self.ids(&format!("{context}{text}"), rendered.marks, lane)?;
            if let Some(rest) = joined.strip_prefix(base.as_slice()) {
                return Ok(rest.to_vec());
            }
        }
        self.ids(text, rendered.marks, lane)
    }

    fn ids(&self, text: &str, marks: u32, lane: bool) -> Result<Vec<u32>, Error> {
        match char::from_u32(marks).filter(|&mark| mark != '\0') {
            None => self.tokenizer.encode_by(text, lane),
            mark => self.tokenizer.encode_marked(text, Marks(mark)),
        }
    }
}

#[cfg(test)]
mod tests;
