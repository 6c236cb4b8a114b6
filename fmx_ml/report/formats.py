"""Numbers, times and names as a reader expects them on paper."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

DASH = "\N{EN DASH}"  # where there is no figure
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DECIMALS = 4  # of losses and accuracies

_MAX_DECIMALS = 6  # of a published figure
_SMALL = 5e-5  # what four decimals would show as nothing
_LARGE = 10  # from there on one decimal says enough
_GROUPED = 10_000  # from there on digits stand in threes
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_WORDS = {
    "ae": "autoencoder",
    "cnn": "CNN",
    "f1": "F1",
    "lr": "learning rate",
    "mlp": "MLP",
    "mse": "mean squared error",
    "percent": "per cent",
    "std": "deviation",
    "train": "training",
    "val": "validation",
}
_MEASURED = {
    "accuracy", "error", "loss", "mse", "per", "test", "train", "training", "val", "validation",
}  # fmt: skip
_CHOSEN = {"decay", "dropout", "momentum", "rate"}  # what a spec says, not what was measured


def say_words(name: str) -> str:
    """A name from a program in words: val_loss is validation loss, fc3.weight stays apart."""
    return " ".join(_WORDS.get(word, word) for word in split_words(name))


def split_words(name: str) -> list[str]:
    """The words of a name."""
    return name.replace("_", " ").split()


def capitalise(text: str) -> str:
    """The text with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def say_cell(text: str) -> str:
    """A cell's text; one that is a program's word (max_epochs) loses its underscores."""
    is_word = "_" in text and text.replace("_", "").isalpha() and text.islower()
    return text.replace("_", " ") if is_word else text


def counts_epochs(name: str) -> bool:
    """Whether a row's or column's name is that of a number of epochs."""
    words = split_words(name.lower().replace(".", " "))
    plain = [word.strip(",") for word in words]
    counts = plain[-1:] == ["epoch"] or "epochs" in (*plain[-1:], *plain[:1])
    return counts and not _MEASURED.intersection(plain)


def is_duration(name: str) -> bool:
    """Whether a name is that of a time in seconds."""
    return "seconds" in split_words(name.lower())


def is_identity(name: str) -> bool:
    """Whether a name is that of a number which tells things apart: its digits stay together."""
    return bool({"seed", "seeds"}.intersection(split_words(name.lower())))


def is_chosen(name: str) -> bool:
    """Whether a name is that of a value from a spec, such as a learning rate."""
    return bool(_CHOSEN.intersection(split_words(name.lower())))


def format_number(value: float, decimals: int = DECIMALS) -> str:
    """A figure with so many decimals; one where it is large, a power of ten where it is tiny."""
    if not math.isfinite(value):
        return DASH if math.isnan(value) else f"{MINUS if value < 0 else ''}∞"
    if 0 < abs(value) < _SMALL:
        return format_power(value)
    text = f"{value:,.{decimals}f}" if abs(value) < _LARGE else _format_large(value)
    return text.replace("-", MINUS)


def format_deviation(value: float, decimals: int = DECIMALS) -> str:
    """A deviation or an interval's end with the decimals of its figure, however small it is."""
    if abs(value) >= _LARGE or not math.isfinite(value):
        return format_number(value, decimals)
    text = f"{value:.{decimals}f}"
    return text.replace("-", MINUS)


def _format_large(value: float) -> str:
    return format_whole(value) if value.is_integer() else f"{value:,.1f}"


def format_power(value: float) -> str:
    """A tiny figure as a multiple of a power of ten."""
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits} {TIMES} 10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", MINUS)


def format_whole(value: float) -> str:
    """A whole number, its digits in threes from 10,000 on."""
    text = f"{value:,.0f}" if abs(value) >= _GROUPED else f"{value:.0f}"
    return text.replace("-", MINUS)


def format_epochs(value: float) -> str:
    """A number of epochs: whole, or with one decimal where it is a mean or a deviation."""
    return format_whole(value) if float(value).is_integer() else f"{value:,.1f}"


def format_chosen(value: float) -> str:
    """A value from a spec, with as many digits as it has: 0.005, 0."""
    return f"{value:g}".replace("-", MINUS)


def decimals_of(values: Sequence[float]) -> int:
    """The decimals that published figures were printed with: four at least, six at most."""
    most = DECIMALS
    for value in values:
        whole, _, decimals = f"{value:.{_MAX_DECIMALS}f}".rstrip("0").partition(".")
        if abs(int(whole or 0)) < _LARGE:
            most = max(most, len(decimals))
    return most


def format_duration(seconds: float) -> str:
    """A time: 2 h 14 min 05 s, 3 min 05 s, 12 s, 6.1 s."""
    if seconds < _LARGE:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min {left:02} s"
    return f"{minutes} min {left:02} s" if minutes else f"{left} s"


def format_moment(at: datetime | None) -> str:
    """A time of day in UTC: 23 November 2026, 16:52 UTC."""
    if at is None:
        return DASH
    return f"{format_date(at)}, {_in_utc(at):%H:%M} UTC"


def format_date(at: datetime) -> str:
    """A day: 23 November 2026."""
    at = _in_utc(at)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# Not the locale's: a report reads alike wherever it is made.
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def count(number: int, noun: str) -> str:
    """A number and its noun: 1 run, 2 runs, no runs."""
    return f"{number or 'no'} {noun}" + ("" if number == 1 else "s")


def list_words(words: Sequence[str]) -> str:
    """Words in a row: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
