"""Records of TensorBoard's event files: TFRecord's frames around protocol buffers.

Written by hand, since it is this little: no package writes them that a server wants to load. A
frame is the length of the data, its checksum, the data, its checksum; a checksum is a CRC32C
(RFC 3720), turned and shifted so that data with checksums in it can be summed again. The messages
are tensorboard/compat/proto/{event,summary}.proto and the plugin_data.proto of its hparams.
"""

import struct
from collections.abc import Mapping

from api.tracking import Parameter

VERSION = "brain.Event:2"  # what the first event of a file says

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
_MASK_DELTA = 0xA282EAD8
_DOUBLE, _LENGTH_DELIMITED, _FLOAT, _VARINT = 1, 2, 5, 0  # wire types of protocol buffers


def _make_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _make_table()


def _mask_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)


def frame(data: bytes) -> bytes:
    """The data as a record of a file."""
    length = struct.pack("<Q", len(data))
    return length + _mask_crc(length) + data + _mask_crc(data)


def first_event(wall_time: float) -> bytes:
    """What a file begins with."""
    return _double(1, wall_time) + _text(3, VERSION)


def scalars(wall_time: float, step: int, figures: Mapping[str, float]) -> bytes:
    """An event with figures by their tags, each as a float of 32 bits."""
    values = (_bytes(1, _text(1, tag) + _float(2, value)) for tag, value in figures.items())
    return _double(1, wall_time) + _integer(2, step) + _bytes(5, b"".join(values))


def session_start(wall_time: float, parameters: Mapping[str, Parameter], group: str) -> bytes:
    """An event that tells a run's parameters to the HParams dashboard."""
    entries = (
        _bytes(1, _text(1, name) + _bytes(2, _value(value))) for name, value in parameters.items()
    )
    start = b"".join(entries) + _text(4, group) + _double(5, wall_time)
    return _hparams(wall_time, "_hparams_/session_start_info", _bytes(3, start))


def session_end(wall_time: float, *, went_well: bool) -> bytes:
    """An event that tells how a run ended."""
    end = _integer(1, 1 if went_well else 2) + _double(2, wall_time)
    return _hparams(wall_time, "_hparams_/session_end_info", _bytes(4, end))


def _hparams(wall_time: float, tag: str, content: bytes) -> bytes:
    plugin = _bytes(1, _text(1, "hparams") + _bytes(2, content))
    value = _text(1, tag) + _bytes(9, plugin) + _bytes(8, _integer(1, 1) + _bytes(2, b""))
    return _double(1, wall_time) + _bytes(5, _bytes(1, value))


def _value(value: Parameter) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, bool):
        return _integer(4, int(value))
    return _text(3, value) if isinstance(value, str) else _double(2, value)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _integer(field: int, number: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | _DOUBLE) + struct.pack("<d", number)


def _float(field: int, number: float) -> bytes:
    return _varint(field << 3 | _FLOAT) + struct.pack("<f", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
