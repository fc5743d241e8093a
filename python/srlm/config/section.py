"""The base class of configuration sections, and common field types."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


class Section(BaseModel):
    """A strict, frozen part of the configuration: no unknown keys, no silent conversion between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


# The two forms of a value that may be a list over iterations, in pydantic's locations of errors.
ONE_VALUE, LIST = "[one value]", "[a list]"


def _form(value: object) -> str:
    return LIST if isinstance(value, list) else ONE_VALUE


# A number, or a list of one for M2, one for M3 and so on; the last one holds for all later models.
_Number = Annotated[Annotated[float, Field(ge=0)], Tag(ONE_VALUE)]
_Numbers = Annotated[Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)], Tag(LIST)]
_Share = Annotated[Share, Tag(ONE_VALUE)]
_Shares = Annotated[Annotated[list[Share], Field(min_length=1)], Tag(LIST)]
_Limit = Annotated[Count | None, Tag(ONE_VALUE)]
_Limits = Annotated[Annotated[list[Count], Field(min_length=1)], Tag(LIST)]
NumberByIteration = Annotated[_Number | _Numbers, Discriminator(_form)]
ShareByIteration = Annotated[_Share | _Shares, Discriminator(_form)]
LimitByIteration = Annotated[_Limit | _Limits, Discriminator(_form)]

Value = TypeVar("Value")


def value_of(given: Value | list[Value], t: int) -> Value:
    """Return the value for M_t's data (t from 2) of a number, or of a list over iterations."""
    return given[min(t - 2, len(given) - 1)] if isinstance(given, list) else given
