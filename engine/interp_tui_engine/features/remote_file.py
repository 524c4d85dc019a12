"""A file on a model hub, read in parts: of a dictionary of gigabytes only the rows that are asked for travel."""

from __future__ import annotations

import io
import os
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import RunFailed
from .fetch import OPENER, Service

ENDPOINT, TOKEN = "HF_ENDPOINT", "HF_TOKEN"
PUBLIC = "https://huggingface.co"


class HubFile(io.RawIOBase):
    """A seekable, read-only view of `repo`'s file `path`. Raises RunFailed, as Service does, where it cannot be had."""

    def __init__(self, repo: str, path: str, revision: str = "main", **options: Any) -> None:
        token = os.environ.get(TOKEN)
        headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"} if token else {}
        self.service = Service("the hub", os.environ.get(ENDPOINT) or PUBLIC, headers, TOKEN, **options)
        self.url = f"/{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        self._at = 0
        _, self.size = self._ranged(0, 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise OSError(22, "before the beginning of the file")  # zipfile asks for the end of files that are too short
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        data = self.part(self._at, min(self.size, self._at + len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def part(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`."""
        return self._ranged(start, stop)[0] if stop > start else b""

    def _ranged(self, start: int, stop: int) -> tuple[bytes, int]:
        def once(url: str) -> tuple[bytes, int]:
            headers = {**self.service.headers, "Range": f"bytes={start}-{stop - 1}"}
            with OPENER.open(urllib.request.Request(url, headers=headers), timeout=self.service.timeout) as answer:
                if answer.status == 206:
                    data = answer.read(stop - start)
                    size = int(answer.headers["Content-Range"].rsplit("/", 1)[1])
                else:  # a server without ranges sends it all
                    size = int(answer.headers["Content-Length"])
                    answer.read(start)
                    data = answer.read(stop - start)
            if len(data) != min(stop, size) - start:
                raise ValueError(f"{len(data)} bytes of {stop - start}")
            return data, size

        part: tuple[bytes, int] = self.service.with_retries(self.url, once)
        return part


def read_all(file: HubFile, limit: int) -> bytes:
    """The whole of a small file. Raises RunFailed for one beyond `limit` bytes."""
    if file.size > limit:
        raise RunFailed(f"{file.url} has {file.size:,} bytes, where {limit:,} would be many", "is it the right file?")
    return file.part(0, file.size)
