"""A proxy in front of an MLflow server that takes its time, loses answers, or never gives one.

By hand: ``python -m tests.slow_store http://127.0.0.1:5000 2 5001`` answers on port 5001 for the
server on port 5000 after 2 s each.
"""

import contextlib
import http.client
import http.server
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator

_NOT_PASSED_ON = {"host", "connection", "content-length", "transfer-encoding"}


class SlowStore(http.server.ThreadingHTTPServer):
    """Passes each request on, and waits before it does.

    Parameters
    ----------
    upstream
        Address of the server.
    delay
        Seconds that each answer takes.

    Attributes
    ----------
    is_silent
        Whether requests are taken and not answered, until it is unset.
    is_away
        Whether connections are closed at once, until it is unset.
    loses_answer
        Called for each request that was carried out: whether its answer is lost.
    requests
        Method and path of each request, in order.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, delay: float = 0.0, *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.upstream, self.delay = urllib.parse.urlsplit(upstream), delay
        self.requests: list[tuple[str, str]] = []
        self.is_away = False
        self.loses_answer: Callable[[], bool] = lambda: False
        self._wakes = threading.Event()
        self._wakes.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def is_silent(self) -> bool:
        return not self._wakes.is_set()

    @is_silent.setter
    def is_silent(self, value: bool) -> None:
        (self._wakes.clear if value else self._wakes.set)()

    def hold(self) -> None:
        """Wait as long as a request has to."""
        threading.Event().wait(self.delay)
        self._wakes.wait()

    def handle_error(self, *_: object) -> None:
        """Clients that gave up are no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SlowStore

    def pass_on(self) -> None:
        self.server.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.hold()
        if self.server.is_away:
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_PASSED_ON}
        upstream = http.client.HTTPConnection(str(self.server.upstream.netloc), timeout=60)
        with contextlib.closing(upstream):
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        if self.server.loses_answer():
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 names of http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def slow_store(upstream: str, delay: float = 0.0) -> Iterator[SlowStore]:
    """Run the proxy during the body."""
    store = SlowStore(upstream, delay)
    threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.05}).start()
    try:
        yield store
    finally:
        store.is_silent = False
        store.shutdown()
        store.server_close()


if __name__ == "__main__":
    SlowStore(sys.argv[1], float(sys.argv[2]), port=int(sys.argv[3])).serve_forever()
