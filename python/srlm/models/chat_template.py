"""A chat template is tried before anything is made with it.

What is tried is only that it renders, and that what is said stands in what it gives: a template that drops an answer
would train a model on nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import nodes
    from jinja2.parser import Parser

ADVICE = "mend it, or set model.chat_template (e.g. plain)"
QUESTION, ANSWER = "the question asked", "the answer given"


def check(render: Callable[[list[dict[str, str]]], str], where: str) -> None:
    """Check that a template renders a question with its answer; `where` names it in errors.

    Raises:
        InputError: it fails on them, or leaves one out.
    """
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    try:
        text = render(messages)
    except Exception as error:  # a template may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{where}: the chat template fails on a question with its answer: {reason}; {ADVICE}"
        ) from error
    for said, who in ((QUESTION, "user"), (ANSWER, "assistant")):
        if said not in text:
            raise InputError(f"{where}: the chat template leaves out what the {who} says; {ADVICE}")


def check_syntax(text: str, name: str) -> None:
    """Check that a text is a template; `name` is its file's in errors.

    Raises:
        InputError: it is not; names the line.
    """
    from jinja2 import Environment, TemplateSyntaxError
    from jinja2.ext import Extension

    class Generation(Extension):
        """The tag by which transformers marks what the assistant says."""

        tags = {"generation"}  # noqa: RUF012  jinja2's own way

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=["jinja2.ext.loopcontrols", Generation]).parse(text)  # noqa: S701  nothing is rendered
    except TemplateSyntaxError as error:
        raise InputError(
            f"model.chat_template {name!r}, line {error.lineno}: {error.message}; mend the template"
        ) from error
    except RecursionError as error:
        raise InputError(f"model.chat_template {name!r}: nested too deeply; mend the template") from error
