"""The process that sends spans: `python -m datapaths.bpf.exporter --to URL --node NAME`, fed by the agent.

It reads frames (`spans.FRAME`) from its standard input until that ends, keeps at most `--queue` spans, sends them in
batches and says after each what became of them, as a line of JSON with monotonic counts: `exported`, `dropped`,
`retries`. Spans that find the queue full are dropped. A batch that could not be delivered is sent again, later and
later, as OTLP/HTTP has it (connection errors and 429, 502, 503, 504), for `--patience-s`; then it is dropped. When the
input ends, what is left is tried once.

It gives up root's rights once everything is imported and open.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from io import FileIO, RawIOBase

from datapaths.bpf.receivers import Later, Receiver, Refused, receiver
from datapaths.bpf.spans import FRAME, NAMES, RECORD, Names, Span, clock_offset, decoded

BATCH = 512
_NOBODY = 65534
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class Queue:
    """Records between the thread that reads them and the one that sends them."""

    def __init__(self, most: int, linger_s: float) -> None:
        self._most, self._linger_s, self._records = most, linger_s, deque[bytes]()
        self._changed = threading.Condition()
        self.refused = 0
        self.ended = threading.Event()
        self.names = Names()

    def fill(self, source: RawIOBase) -> None:
        """Read frames until there are no more."""
        try:
            while len(head := _exactly(source, FRAME.size)) == FRAME.size:
                kind, size = FRAME.unpack(head)
                piece = _exactly(source, size)
                with self._changed:
                    if kind == NAMES:
                        self.names.learn(json.loads(piece))
                    else:
                        self._put(piece)
        finally:
            self.ended.set()
            with self._changed:
                self._changed.notify()

    def _put(self, piece: bytes) -> None:
        room = max(self._most - len(self._records), 0)
        records = [piece[at : at + RECORD.size] for at in range(0, len(piece), RECORD.size)]
        self._records.extend(records[:room])
        self.refused += len(records[room:])
        self._changed.notify()

    def take(self) -> list[Span] | None:
        """A batch: full, or what there is after lingering; None at the end of all."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._records) or self.refused or self.ended.is_set())
            self._changed.wait_for(lambda: len(self._records) >= BATCH or self.ended.is_set(), self._linger_s)
            if not self._records and self.ended.is_set():
                return None
            records = [self._records.popleft() for _ in range(min(BATCH, len(self._records)))]
            return list(decoded(records, self.names, clock_offset()))

    def take_refused(self) -> int:
        """How many were dropped since this was last asked."""
        with self._changed:
            refused, self.refused = self.refused, 0
        return refused


class Exporter:
    """Sends what is in a queue to a receiver until the queue ends."""

    def __init__(self, queue: Queue, to: Receiver, patience_s: float) -> None:
        self._queue, self._to, self._patience_s = queue, to, patience_s
        self.counts = {"exported": 0, "dropped": 0, "retries": 0}

    def run(self) -> None:
        """Returns when the queue has ended."""
        while (batch := self._queue.take()) is not None:
            taken = self._deliver(batch) if batch else 0
            self.counts["exported"] += taken
            self.counts["dropped"] += len(batch) - taken + self._queue.take_refused()
            self._say()
        self.counts["dropped"] += self._queue.take_refused()
        self._say()

    def _deliver(self, batch: list[Span]) -> int:
        """How many of them arrived."""
        deadline, pause = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return len(batch) - self._to.send(batch)
            except Refused:
                return 0
            except Later as later:
                wait = max(later.after_s, pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, no secret
                if time.monotonic() + wait > deadline or self._queue.ended.wait(wait):
                    return 0
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            self.counts["retries"] += 1
            self.counts["dropped"] += self._queue.take_refused()
            self._say()

    def _say(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the agent is gone; its input ends too
            os.write(1, json.dumps(self.counts).encode() + b"\n")


def main() -> int:
    """Until standard input ends."""
    asked = _parser().parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the agent; this process ends with its input
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not asked.to.startswith("https:"):
        sys.modules.setdefault("ssl", None)  # type: ignore[arg-type] # http.client does without; it weighs 1.3 MB
    to = receiver(asked.to, asked.node, asked.side)
    _give_up_rights()
    queue = Queue(asked.queue, asked.linger_s)
    threading.Thread(target=queue.fill, args=(FileIO(0, closefd=False),), daemon=True).start()
    Exporter(queue, to, asked.patience_s).run()
    return 0


def _exactly(source: RawIOBase, size: int) -> bytes:
    """So many bytes; fewer where they end. Raw, because a buffer's lock would be held when the process ends."""
    found = b""
    while len(found) < size and (more := source.read(size - len(found))):
        found += more
    return found


def _give_up_rights() -> None:
    with contextlib.suppress(PermissionError):  # not root, or a root that may not: stay who we are
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datapaths.bpf.exporter", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--to", required=True, help="http://host:port, https://host:port or file:/path")
    parser.add_argument("--node", default="", help="host.name of the spans' resources")
    parser.add_argument("--side", choices=("server", "client"), default="server")
    parser.add_argument("--queue", type=int, default=8192, help="spans kept while the receiver is away")
    parser.add_argument("--linger-s", type=float, default=0.5, help="how long a batch may wait to become full")
    parser.add_argument("--patience-s", type=float, default=30.0, help="how long a batch is tried")
    return parser


if __name__ == "__main__":
    sys.exit(main())
