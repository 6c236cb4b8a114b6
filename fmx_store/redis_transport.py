"""Kombu's Redis transport, which neither junk in a queue nor a lost connection ends."""

import logging
from queue import Empty
from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError

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

    def _connparams(self, asynchronous: bool = False) -> Any:
        """What a client is made with; once the connection is closed, there is none to be made.

        Celery acknowledges what a lost connection has brought after closing it. It expects errors
        of connections there, and where kombu's own AttributeError comes, the worker ends.
        """
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection to the broker is closed")
        return super()._connparams(asynchronous=asynchronous)


class Transport(CheckedDelivery, redis.Transport):
    """The transport of redis:// and rediss://."""

    Channel = _Channel
