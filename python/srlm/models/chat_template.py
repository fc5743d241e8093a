"""Validation of chat templates before they are used.

The check renders a short conversation and looks for both messages in the output: a template that drops the answer would
train a model on nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import nodes
    from jinja2.parser import Parser

ADVICE = "fix it, or set model.chat_template (e.g. plain)"
QUESTION, ANSWER = "the question asked", "the answer given"


def check(render: Callable[[list[dict[str, str]]], str], where: str) -> None:
    """Check that a template renders a question with its answer; `where` is its name in errors.

    Raises:
        InputError: rendering fails, or the output lacks one of the messages.
    """
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    try:
        text = render(messages)
    except Exception as error:  # a template may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{where}: the chat template fails on a question with its answer: {reason}; {ADVICE}"
        ) from error
    for content, role in ((QUESTION, "user"), (ANSWER, "assistant")):
        if content not in text:
            raise InputError(f"{where}: the chat template drops the {role} message; {ADVICE}")


def check_syntax(text: str, name: str) -> None:
    """Check the Jinja syntax of a template; `name` is the file's name in errors.

    Raises:
        InputError: the syntax is invalid; names the line.
    """
    from jinja2 import Environment, TemplateSyntaxError
    from jinja2.ext import Extension

    class Generation(Extension):
        """The tag with which transformers marks the assistant's tokens."""

        tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=["jinja2.ext.loopcontrols", Generation]).parse(text)  # noqa: S701  nothing is rendered
    except TemplateSyntaxError as error:
        raise InputError(
            f"model.chat_template {name!r}, line {error.lineno}: {error.message}; fix the template"
        ) from error
    except RecursionError as error:
        raise InputError(f"model.chat_template {name!r}: nested too deeply; fix the template") from error
