"""What an attempt has logged and the record does not have yet."""

from dataclasses import dataclass
from pathlib import Path

from fmx_store.logs import Logged
from fmx_store.tables import now

MAX_PART_BYTES = 64 * 1024  # in one write


@dataclass
class LogTail:
    """Reads the end of a log that grows; of one that grows faster than it is read, the newest."""

    path: Path
    kept_bytes: int
    written: int = 0

    def read(self, *, is_whole: bool = False) -> Logged | None:
        """The next lines, without one that is still being written unless the log is whole.

        None where there are none, or they can't be read.
        """
        at = now()  # what comes later has later moments
        try:
            size = self.path.stat().st_size
            if size <= self.written:
                return None
            start = max(self.written, size - self.kept_bytes)
            with self.path.open("rb") as file:
                file.seek(start)
                if start > self.written:
                    start += len(file.readline(self.kept_bytes))
                content = file.read(min(size - start, MAX_PART_BYTES))
        except OSError:
            return None
        has_end = is_whole and start + len(content) >= size
        if not has_end and (b"\n" in content or len(content) < MAX_PART_BYTES):
            content = content[: content.rfind(b"\n") + 1]
        return Logged(start, content, self.kept_bytes, at) if content else None

    def forget(self, logged: Logged) -> None:
        """That is written."""
        self.written = max(self.written, logged.end)
