"""Kombu's Redis transport, which junk in a queue does not end."""

import logging
from queue import Empty
from typing import Any

from kombu.transport import redis

from fmx_store.inbound import NOT_JSON, CheckedDelivery

_log = logging.getLogger(__name__)


class _Channel(redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except NOT_JSON as error:
            _log.warning("a message that is no JSON was dropped: %s", error)
            raise Empty from error

    def _receive_one(self, c: Any) -> Any:
        try:
            return super()._receive_one(c)
        except NOT_JSON as error:
            _log.warning("a broadcast that is no JSON was dropped: %s", error)
            raise Empty from error


class Transport(CheckedDelivery, redis.Transport):
    """The transport of redis:// and rediss://."""

    Channel = _Channel
