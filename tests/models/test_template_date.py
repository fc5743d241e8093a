"""Chat templates that print today's date print a frozen one, in both renderers."""

import datetime
import json

import pytest
from srlm.config import ModelSection
from srlm.models import chat, registry, template_date
from transformers import AutoTokenizer

DAY = datetime.date(2026, 11, 3)
BODY = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
BODY += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
LLAMA = """{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}Today: {{ date_string }}
"""
# The beginning of a template, its text on `DAY`, and whether Rust renders it.
TEMPLATES = {
    "Llama 3": (LLAMA, "Today: 03 Nov 2026", True),
    "Mistral": ("{%- set today = strftime_now('%Y-%m-%d') %}{{ today }}\n", "2026-11-03", True),
    "spaces": ("{{ strftime_now( '%B %d, %Y' ) }}\n", "November 03, 2026", True),
    "quotes": ("{{ strftime_now('\"%A\"') }}\n", '"Tuesday"', True),
    "twice": ("{{ strftime_now('%d') }}.{{ strftime_now('%m') }}\n", "03.11", True),
    "the time": ("{{ strftime_now('%dT%H:%M:%S') }}\n", "03T00:00:00", True),
    "defined": ("{% if strftime_now is not defined %}-{% else %}{{ strftime_now('%Y') }}{% endif %}\n", "2026", True),
    "a filter": ("{{ strftime_now('%d %b') | upper }}\n", "03 NOV", True),
    "a format in a variable": ("{% set f = '%Y' %}{{ strftime_now(f) }}\n", "2026", False),
    "another name": ("{% set now = strftime_now %}{{ now('%j') }}\n", "307", False),
    "a joined format": ("{{ strftime_now('%Y' ~ '!') }}\n", "2026!", False),
}  # fmt: skip


@pytest.fixture
def dated(tmp_path, tiny_model):
    """Save the tiny model's tokenizer with a template, and return its folder."""

    def save(template):
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        tokenizer.chat_template = template + BODY
        folder = tmp_path / "dated"
        tokenizer.save_pretrained(folder)
        return folder

    return save


def rendered(tokenizer):
    return tokenizer.decode(chat.prompt_ids(tokenizer, chat.user("Hi")))


@pytest.mark.parametrize("name", TEMPLATES)
def test_frozen(dated, name):
    template, expected, in_rust = TEMPLATES[name]
    folder = dated(template)
    model = ModelSection(name="m", date=DAY)
    assert registry.prints_date(str(folder), model)
    tokenizer = registry.load_tokenizer(str(folder), model)
    assert chat.cached_encoder(tokenizer).renders_in_rust == in_rust
    assert expected in rendered(tokenizer)
    assert chat.render(tokenizer, chat.user("Hi"), add_generation_prompt=True) == rendered(tokenizer)
    other = registry.load_tokenizer(str(folder), ModelSection(name="m", date=datetime.date(2020, 2, 2)))
    assert expected not in rendered(other)


def test_a_command_does_not_depend_on_the_day(dated):
    """Without `model.date` a fixed date is printed: the one that Llama's templates print without a clock."""
    folder = str(dated(LLAMA))
    for model in (None, ModelSection(name="m")):
        assert "Today: 26 Jul 2024" in rendered(registry.load_tokenizer(folder, model))


def test_the_saved_template_prints_todays_date_again(dated, tmp_path):
    folder = dated(LLAMA)
    tokenizer = registry.load_tokenizer(str(folder), ModelSection(name="m", date=DAY))
    registry.save_tokenizer(tokenizer, tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == LLAMA + BODY
    assert "03 Nov 2026" in rendered(tokenizer)  # and goes on with the frozen one


def test_templates_without_a_date_are_left_alone(tiny_model):
    tokenizer = registry.load_tokenizer(tiny_model, ModelSection(name="m", date=DAY))
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    assert chat.frozen_date(tokenizer) is None
    assert not registry.prints_date(tiny_model, ModelSection(name="m", date=DAY))
    assert not registry.prints_date(tiny_model, ModelSection(name="m", chat_template="plain"))


def test_where_a_template_is_found(tmp_path):
    model = ModelSection(name="m")
    for name, text in {
        "chat_template.jinja": LLAMA,
        "tokenizer_config.json": json.dumps({"chat_template": LLAMA}),
        "chat_template.json": json.dumps({"chat_template": LLAMA}),
        "additional_chat_templates/tools.jinja": LLAMA,
    }.items():
        file = tmp_path / name.replace("/", "_") / name
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        assert registry.prints_date(str(tmp_path / name.replace("/", "_")), model)


def test_a_configured_template(tmp_path, tiny_model):
    file = tmp_path / "own.jinja"
    file.write_text(LLAMA + BODY, encoding="utf-8")
    model = ModelSection(name="m", chat_template=str(file), date=DAY)
    assert registry.prints_date(tiny_model, model)
    assert "03 Nov 2026" in rendered(registry.load_tokenizer(tiny_model, model))


def test_freeze_leaves_other_text():
    text = "{{ messages[0].content }} now strftime {{ 'a' }}"
    assert template_date.freeze(text, DAY) == text
    assert not template_date.prints_date(text)
