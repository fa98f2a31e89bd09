"""Documents: where small facts live on disk, and who may open the folder."""

import contextlib
import errno
import json
import os
import sqlite3
import threading
from pathlib import Path

from hf_dd.errors import HubError


class DocumentStore:
    """JSON documents by (kind, key) in one SQLite file; every change is one durable transaction.

    The file stays locked while it is open: a second server on the same folder is refused, and whatever lock files
    lie in the folder once this one is open belong to a process that has died.
    """

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._database = None
        try:
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma locking_mode = exclusive")
            self._database.execute("pragma synchronous = full")
            self._database.execute("begin exclusive")
            self._database.execute(
                "create table if not exists documents (kind text, key text, body text, primary key (kind, key))"
            )
            self._database.execute("commit")
        except sqlite3.Error as error:
            if self._database:
                self._database.close()
            hint = ": is another server using it?" if "locked" in str(error) else ""
            raise HubError(f"Can't open the local Hub in {path.parent}{hint} ({path.name}: {error})") from error

    def get(self, kind: str, key: str) -> dict | None:
        """The document, or None."""
        rows = self._select("select body from documents where kind = ? and key = ?", kind, key)
        return json.loads(rows[0][0]) if rows else None

    def all(self, kind: str) -> list[dict]:
        """All documents of a kind, oldest first."""
        rows = self._select("select body from documents where kind = ? order by rowid", kind)
        return [json.loads(body) for (body,) in rows]

    def add(self, kind: str, key: str, document: dict) -> bool:
        """Store a new document; False, and nothing changed, if the key is taken."""
        return self._change("insert or ignore into documents values (?, ?, ?)", kind, key, json.dumps(document))

    def replace(self, kind: str, key: str, document: dict, new_key: str | None = None) -> bool:
        """Change a document and, if `new_key` is given, its key; False if the new key is taken or the old is gone."""
        sql = "update or ignore documents set body = ?, key = ? where kind = ? and key = ?"
        return self._change(sql, json.dumps(document), new_key or key, kind, key)

    def delete(self, kind: str, key: str) -> bool:
        """Remove a document; False if there was none."""
        return self._change("delete from documents where kind = ? and key = ?", kind, key)

    def close(self):
        """Release the folder."""
        with self._lock:
            self._database.close()

    def _select(self, sql, *values) -> list[tuple]:
        with self._lock:  # also for the rows: another thread's statement would end this one's
            return self._database.execute(sql, values).fetchall()

    def _change(self, sql, *values) -> bool:
        try:
            with self._lock:
                return self._database.execute(sql, values).rowcount > 0
        except sqlite3.OperationalError as error:  # a full disk, for one
            raise OSError(errno.ENOSPC, f"{error}") from error


def sync_folder(folder: Path | str):
    """Make renames in `folder` survive a power cut (a no-op where folders can't be opened)."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
