"""A stand-in for the Hugging Face hub, on the loopback: as much of its API as an upload needs.

Written after what huggingface_hub 2.4 asks (``hf_api.py``, ``_commit_api.py``, ``lfs.py``): a
repository's commit and tree, the check of a card's metadata, preupload, git-LFS's batch, upload
and commit. Files ending in ``.onnx`` are kept outside of git, as the hub keeps them.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WRITER, READER = "hf_writer0000000000", "hf_reader0000000000"


@dataclass
class Hub:
    """What the stand-in holds, and what it was asked."""

    repo: str = "lab/networks"
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    before_commit: Callable[[], None] = lambda: None
    is_private: bool = False
    takes_large_files: bool = True
    _large: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    @property
    def head(self) -> str:
        """The last commit's id, 40 hexadecimal digits; each commit and other change has its own."""
        content = repr((len(self.commits), sorted(self.files.items())))
        return hashlib.sha1(content.encode()).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        content = self.files[path]
        entry = {"type": "file", "path": path, "size": len(content)}
        if not path.endswith(".onnx"):
            return {**entry, "oid": _blob(content)}
        sha256 = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\n".encode()
        lfs = {"oid": sha256, "size": len(content), "pointerSize": len(pointer)}
        return {**entry, "oid": _blob(pointer), "lfs": lfs}

    def tree(self) -> list[dict[str, Any]]:
        parents = {path.rpartition("/")[0] for path in self.files} - {""}
        folders = [{"type": "directory", "path": path, "oid": "0" * 40} for path in parents]
        return folders + [self.entry(path) for path in self.files]

    def commit(self, lines: list[dict[str, Any]]) -> dict[str, str] | None:
        """Apply a commit; None if it was made for another state."""
        self.before_commit()
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") != self.head:
            return None
        paths = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self._large[value["oid"]]
            else:
                continue
            paths.append(value["path"])
        self.commits.append({"summary": header["summary"], "paths": sorted(paths)})
        return {"commitUrl": f"{self.url}/{self.repo}/commit/{self.head}", "commitOid": self.head}


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def _answer(self, content: Any, status: int = 200, **headers: str) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _may(self, *, write: bool) -> bool:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token:
                hub.tokens.add(token)
            if token not in ("", READER, WRITER):
                message = "Invalid credentials in Authorization header"
                self._answer({"error": message}, 401, X_Error_Message=message)
            elif f"/{hub.repo}" not in self.path or (hub.is_private and not token):
                code = "RepoNotFound"
                self._answer({"error": "Repository not found"}, 404, X_Error_Code=code)
            elif write and token != WRITER:
                message = "Forbidden: you need write access"
                self._answer({"error": message}, 403, X_Error_Message=message)
            else:
                return True
            return False

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_HEAD(self) -> None:
            if self._may(write=False):
                self._send_file(is_asked_for=False)

        def _send_file(self, *, is_asked_for: bool) -> None:
            name = self.path.partition(f"/resolve/{hub.head}/")[2]
            content = hub.files[name]
            self.send_response(200)
            self.send_header("ETag", f'"{_blob(content)}"')
            self.send_header("X-Repo-Commit", hub.head)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if is_asked_for:
                self.wfile.write(content)

        def do_GET(self) -> None:
            hub.asked.append(f"GET {self.path}")
            if not self._may(write=False):
                return
            if f"/resolve/{hub.head}/" in self.path:
                self._send_file(is_asked_for=True)
            elif f"/tree/{hub.head}" in self.path:
                self._answer(hub.tree())
            else:
                self._answer({"id": hub.repo, "modelId": hub.repo, "sha": hub.head})

        def do_POST(self) -> None:
            hub.asked.append(f"POST {self.path}")
            body = self._body()
            if self.path == "/api/validate-yaml":
                is_card = re.match(r"---\n.*\n---\n", json.loads(body)["content"], re.DOTALL)
                self._answer({"warnings": [], "errors": []}, 200 if is_card else 400)
            elif not self._may(write=True):
                return
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                self._answer({"files": [_upload_mode(hub, file["path"]) for file in files]})
            elif self.path.endswith("/info/lfs/objects/batch"):
                self._answer(
                    {"objects": [_batch_entry(hub, o) for o in json.loads(body)["objects"]]}
                )
            elif "/commit/" in self.path:
                made = hub.commit([json.loads(line) for line in body.splitlines()])
                if made is None:
                    self._answer({"error": "the parent commit is not the last"}, 412)
                else:
                    self._answer(made)

        def do_PUT(self) -> None:
            hub.asked.append(f"PUT {self.path}")
            content = self._body()
            hub._large[hashlib.sha256(content).hexdigest()] = content
            self._answer({}, 200 if hub.takes_large_files else 400)

    return Handler


def _upload_mode(hub: Hub, path: str) -> dict[str, Any]:
    there = hub.entry(path)["oid"] if path in hub.files else None
    mode = "lfs" if path.endswith(".onnx") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": there}


def _batch_entry(hub: Hub, wanted: dict[str, Any]) -> dict[str, Any]:
    """As git-LFS answers: where to upload an object, or no action for one that is there."""
    entry = {"oid": wanted["oid"], "size": wanted["size"]}
    if wanted["oid"] in hub._large:
        return entry
    return {**entry, "actions": {"upload": {"href": f"{hub.url}/large/{wanted['oid']}"}}}


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The stand-in, answering at ``hub.url``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
