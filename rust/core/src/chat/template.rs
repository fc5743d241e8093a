//! Chat templates.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};
use regex::Regex;

use super::python_str;
use crate::Error;

const NAME: &str = "chat";

/// One message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The role: `system`, `user`, `assistant`.
    pub role: &'a str,
    /// The content.
    pub content: &'a str,
}

/// A chat template: Jinja with the settings of transformers (trimmed blocks,
/// `break` and `continue`, `raise_exception`), implemented with minijinja.
///
/// minijinja and Jinja may differ: compare the renderings with those of
/// transformers before relying on this for a template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    variables: Value,
}

impl ChatTemplate {
    /// Compiles a template. `variables` are available to it besides the
    /// messages: `bos_token`, `eos_token` and so on.
    ///
    /// # Errors
    /// [`Error::InvalidTemplate`]: it is not valid Jinja, or uses a feature
    /// that only transformers has.
    pub fn new(source: &str, variables: &[(String, String)]) -> Result<Self, Error> {
        // Jinja normalises line endings in the same way.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| invalid(&error))?,
        );
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(python_str::method);
        environment.add_filter("trim", |value: Value, characters: Option<&str>| {
            python_str::trim(&value, characters)
        });
        environment.add_filter("tojson", to_json);
        // In Jinja `none` is not iterable; in minijinja it is an empty
        // sequence.
        environment.add_test("iterable", |value: &Value| {
            !value.is_none() && value.try_iter().is_ok()
        });
        environment.add_function("raise_exception", |message: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, without_generation_blocks(&source))
            .map_err(|error| invalid(&error))?;
        let pairs = variables.iter().cloned();
        Ok(Self {
            environment,
            variables: Value::from_pairs(pairs),
        })
    }

    /// Renders a conversation, with the generation prompt of the assistant's
    /// turn if `add_generation_prompt`.
    ///
    /// # Errors
    /// [`Error::Template`]: the template rejects these messages.
    pub fn render(
        &self,
        messages: &[Message<'_>],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let failed = |error: minijinja::Error| Error::Template {
            reason: first_line(error.detail().unwrap_or(&error.to_string())),
        };
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role, content => message.content })
            .collect();
        let own = context! {
            messages,
            add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
        };
        let template = self.environment.get_template(NAME).map_err(failed)?;
        template
            .render(context! { ..own, ..self.variables.clone() })
            .map_err(failed)
    }
}

/// The `tojson` of transformers, for strings only: without HTML escapes.
fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    let failure = |reason| minijinja::Error::new(ErrorKind::InvalidOperation, reason);
    let text = value
        .as_str()
        .ok_or_else(|| failure("tojson accepts strings only"))?;
    serde_json::to_string(text).map_err(|_| failure("not representable as JSON"))
}

/// transformers marks assistant messages with `{% generation %}` blocks. They
/// render as their content in a new scope, which is what `with` does.
fn without_generation_blocks(source: &str) -> String {
    static TAG: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a valid pattern")
    });
    TAG.replace_all(source, "{%$1 ${2}with $3%}").into_owned()
}

/// The first line of a message, truncated: errors are one line.
fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

fn invalid(error: &minijinja::Error) -> Error {
    Error::InvalidTemplate {
        reason: first_line(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{%- for message in messages %}\n  {{- '<|im_start|>' + message['role'] + '\\n' + message.content.strip() + '<|im_end|>' }}\n{% endfor %}\n{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    fn user(content: &str) -> Message<'_> {
        Message {
            role: "user",
            content,
        }
    }

    fn render(source: &str, messages: &[Message<'_>], add: bool) -> Result<String, Error> {
        let variables = [("bos_token".to_owned(), "<s>".to_owned())];
        ChatTemplate::new(source, &variables)?.render(messages, add)
    }

    #[test]
    fn renderings() {
        let cases = [
            ("{% if true %}\r\na{% endif %}\r\nb\rc", "ab\nc"),
            (
                CHATML,
                "<|im_start|>user\na <b> 'c'<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "{{ bos_token }}{{ messages[0]['content'] | trim }}",
                "<s>a <b> 'c'",
            ),
            (
                "{{ unknown }}{{ messages | length }}{% if tools %}x{% endif %}",
                "1",
            ),
            (
                "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}x{% endfor %}{{ 'a b'.split()[1] }}",
                "b",
            ),
            (
                "{% generation %}\n{{ 'a' }}\n{%- endgeneration -%}\n b",
                "ab",
            ),
        ];
        for (source, expected) in cases {
            let rendered = render(source, &[user("a <b> 'c'\u{1f}")], true).unwrap();
            assert_eq!(rendered, expected, "{source:?}");
        }
    }

    #[test]
    fn what_a_template_raises_is_passed_on() {
        let error =
            render("{{ raise_exception('roles must alternate') }}", &[], false).unwrap_err();
        assert!(
            error.to_string().contains("roles must alternate"),
            "{error}"
        );
    }

    #[test]
    fn a_broken_template_is_refused() {
        let error = render("{% for %}", &[], false).unwrap_err();
        assert!(matches!(error, Error::InvalidTemplate { .. }), "{error}");
    }
}
