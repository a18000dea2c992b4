"""A thread that makes the requests of one run, so that the work never waits for the store.

The work writes to the run's record and goes on; the thread sends what the record has gained, once a
second at most. Where the work must know that something has arrived, at the start and at the end, it
asks the thread, and waits for a limited time.

A thread, not a process: it is idle while the store takes its time, it needs no second import of
MLflow, and it ends with the process. It is a daemon, so that a store that never answers cannot
hold the end of the process up either.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from lanflow.core import interrupts
from lanflow.core.errors import StoreError, StoreSilentError, StoreUnavailableError, UserError
from lanflow.tracking.delivery import Delivery

log = logging.getLogger(__name__)

T = TypeVar("T")

# What accumulates is sent at once: short epochs make no more requests than a person can follow.
_SECONDS_BETWEEN_SENDS = 1.0
# A store that does not answer is tried again after this time, and one that refuses after a minute.
_SECONDS_BETWEEN_TRIES = 5.0
_SECONDS_AFTER_REFUSAL = 60.0
# Between two looks of who waits: for an interruption that was lost, and for the time.
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_LINES = 10.0


class Sender:
    """Makes the requests of one delivery, in the order in which they are asked for.

    Parameters
    ----------
    delivery
        What is sent; nobody else may use it meanwhile.
    shown_uri
        The store, for messages.
    """

    def __init__(self, delivery: Delivery, shown_uri: str) -> None:
        self.delivery, self._shown_uri = delivery, shown_uri
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="lanflow-sender", daemon=True)
        self._has_news = self._is_behind = False
        self._next_send = 0.0
        self._unanswered_since: float | None = None

    def ask(
        self, request: Callable[[], T], *, seconds: float = math.inf, silence: float = 0.0
    ) -> T:
        """Let the thread make a request, after those that it has begun, and wait for the answer.

        Parameters
        ----------
        request
            What the thread calls; it must be safe to call again after it failed.
        seconds
            How long to wait; until there is an answer or an error when left out.
        silence
            Wait longer, until a request has been without an answer for this time. It may have begun
            before this call.

        Raises
        ------
        StoreSilentError
            If time is up. The thread goes on with the request.
        UserError
            As the request does.
        """
        answer = self.begin(request)
        self.wait(answer, seconds=seconds, silence=silence)
        return answer.result()

    def begin(self, request: Callable[[], T]) -> Future[T]:
        """Let the thread make a request, as :meth:`ask`; return at once the answer to come."""
        answer: Future[T] = Future()

        def carry_out() -> None:
            try:
                answer.set_result(self._make(request))
            except BaseException as e:
                answer.set_exception(e)

        self._start()
        self._calls.put(carry_out)
        return answer

    def notify(self) -> None:
        """Have what the record has gained sent soon; this returns at once."""
        if not self._has_news:
            self._has_news = True
            self._start()
            self._calls.put(_wake)

    def stop(self) -> None:
        """End the thread; a request that it has begun is its last."""
        self.delivery.cancel()
        self._calls.put(None)

    def fall_behind(self, error: UserError) -> None:
        """Note that the store lacks part of the run; only the first of several errors warns."""
        level = logging.DEBUG if self._is_behind else logging.WARNING
        log.log(level, "%s; work goes on, what MLflow missed will be sent later", error)
        self._is_behind = True

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def wait(self, answer: Future[T], *, seconds: float = math.inf, silence: float = 0.0) -> None:
        """Return when there is an answer, or raise when time is up; arguments as :meth:`ask`."""
        start = line = time.monotonic()
        while not answer.done():
            if not self._thread.is_alive():  # of a fault in lanflow, which Python has printed
                raise StoreError(f"MLflow store {self._shown_uri}: the thread that sends has died")
            now = time.monotonic()
            left = max(start + seconds, self._silent_since(start) + silence) - now
            if left <= 0:
                raise StoreSilentError(
                    f"MLflow store {self._shown_uri}: no answer within {now - start:.0f} s"
                )
            if now - line >= _SECONDS_BETWEEN_LINES:
                line = now
                log.info("waiting for the MLflow store: %s", self.delivery.progress)
            interrupts.check()
            wait([answer], timeout=min(_SECONDS_BETWEEN_LOOKS, left))

    def _silent_since(self, start: float) -> float:
        """Return since when the store has owed an answer; ``start`` if it owes none."""
        asked = self._unanswered_since
        return start if asked is None else max(asked, self.delivery.last_answer)

    def _work(self) -> None:
        """Run the thread: whoever waits comes first, then what the record has gained."""
        while True:
            pause = max(0.0, self._next_send - time.monotonic()) if self._has_news else None
            try:
                call = self._calls.get(timeout=pause)
            except queue.Empty:
                self._send_news()
                continue
            if call is None:
                return
            call()

    def _make(self, request: Callable[[], T]) -> T:
        """Make a request, and note since when the store owes an answer if it fails."""
        if self._unanswered_since is None or self.delivery.last_answer > self._unanswered_since:
            self._unanswered_since = time.monotonic()
        made = request()
        self._unanswered_since = None
        return made

    def _send_news(self) -> None:
        self._has_news = False
        try:
            self._make(self.delivery.send)
        except UserError as e:
            self.fall_behind(e)
            self._has_news = True
            is_away = isinstance(e, StoreUnavailableError)
            pause = _SECONDS_BETWEEN_TRIES if is_away else _SECONDS_AFTER_REFUSAL
        else:
            self._is_behind = False
            pause = _SECONDS_BETWEEN_SENDS
        self._next_send = time.monotonic() + pause


def _wake() -> None:
    """Let the thread see that there are news."""
