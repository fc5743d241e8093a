"""Language detection by `langdetect`, which samples n-grams at random: this module sets a seed to be reproducible.

It uses its own factory, as the package's global one is shared by all users in the process.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory


def is_language(text: str, language: str) -> bool:
    """Return whether `text` is detected as `language` (ISO 639-1, with "zh-cn" and "zh-tw").

    A text without letters counts as any language, as in the benchmark's code.
    """
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    detector.append(text)
    try:
        return bool(detector.detect() == language)
    except LangDetectException:
        return True


@functools.cache
def supported_languages() -> frozenset[str]:
    """Return the codes of the languages that can be detected."""
    return frozenset(_factory().get_lang_list())


@functools.cache
def _factory() -> DetectorFactory:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory
