"""A hub of the tests' own: serves data sets from folders, and takes uploads from who has the key.

It speaks the few calls that `datasets` and `huggingface_hub` make: what a data set holds, its
files, creating a repository, and a commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_the_right_key"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StubHub:
    """What the hub holds, and what it was asked.

    Attributes:
        url: its address.
        data_sets: id → folder of its files.
        uploaded: {path: bytes} of the commits it took, by repository id.
        private: ids created as private.
        calls: method and path of every request.
        card: front matter of every data set's card.
    """

    def __init__(self) -> None:
        self.data_sets: dict[str, Path] = {}
        self.uploaded: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.calls: list[str] = []
        self.card: dict[str, Any] = {}
        self.url = ""


@contextmanager
def serving() -> Iterator[StubHub]:
    """A hub on a free port of this machine."""
    hub = StubHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StubHub

    def do_GET(self) -> None:
        path = self._path()
        for name, folder in self.hub.data_sets.items():
            if path == f"/api/datasets/{name}" or path.startswith(
                f"/api/datasets/{name}/revision/"
            ):
                files = [{"rfilename": f} for f in _files(folder)]
                self._json(
                    {"id": name, "sha": COMMIT, "siblings": files, "cardData": self.hub.card}
                )
                return
            if path.startswith(f"/api/datasets/{name}/tree/"):
                self._json([_entry(folder, f) for f in _files(folder)])
                return
            if path.startswith(f"/datasets/{name}/resolve/"):
                self._file(folder / path.split("/resolve/")[1].partition("/")[2])
                return
        self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._path()
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/paths-info/" in path:
            name = path.removeprefix("/api/datasets/").partition("/paths-info/")[0]
            folder, asked = self.hub.data_sets[name], json.loads(body)["paths"]
            self._json([_entry(folder, f) for f in _files(folder) if f in asked])
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            wish = json.loads(body)
            name = f"{wish['organization']}/{wish['name']}"
            self.hub.uploaded.setdefault(name, {})
            if wish.get("visibility") == "private" or wish.get("private"):
                self.hub.private.add(name)
            self._json({"url": f"{self.hub.url}/datasets/{name}"})
        elif "/preupload/" in path:
            files = [
                {"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]
            ]
            self._json({"files": [{**f, "shouldIgnore": False} for f in files]})
        elif "/commit/" in path:
            name = path.removeprefix("/api/datasets/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.uploaded[name][line["value"]["path"]] = content
            page = f"{self.hub.url}/datasets/{name}/commit/{COMMIT}"
            self._json({"commitUrl": page, "commitOid": COMMIT, "success": True})
        else:
            self._json({"error": f"what is {path}?"}, 404)

    def _path(self) -> str:
        self.hub.calls.append(f"{self.command} {self.path}")
        return self.path.partition("?")[0]

    def _file(self, file: Path) -> None:
        if not file.is_file():
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT}
        self._send(200, content, {**headers, "Content-Type": "application/octet-stream"})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self._send(status, content, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def _entry(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
