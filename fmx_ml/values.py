"""What every spec is made of: strict values, frozen models, and the error of what does not fit.

Nothing here imports more than pydantic.
"""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, Strict
from pydantic_core import PydanticCustomError

DISTINCT: dict[str, JsonValue] = {"uniqueItems": True}
"""What the schema of a list says whose validator refuses a value that is given twice."""


class Frozen(BaseModel):
    """A value: unknown fields are refused, nothing changes after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def misfit(field: str, message: str) -> PydanticCustomError:
    """The error of values that do not fit together; `field` is where a reader should look."""
    return PydanticCustomError("does_not_fit", "{message}", {"field": field, "message": message})


def _printable(text: str) -> str:
    """The text, unless it holds control characters, NUL or lone surrogates."""
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in text):
        msg = "control characters and lone surrogates are not allowed"
        raise ValueError(msg)
    return text


Int = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Bool = Annotated[bool, Strict()]
# A pattern in the schema alone: what `_printable` says of a text that fails is plainer.
Text = Annotated[
    str,
    Strict(),
    AfterValidator(_printable),
    Field(json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}),
]
