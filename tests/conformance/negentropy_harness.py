"""One side of a reconciliation on stdin and stdout, for cross-tests with other implementations.

`python tests/conformance/negentropy_harness.py` reads a command per line and answers in lines:

    item,<timestamp>,<64 hex digits>   a member of the set
    seal                               the set is complete
    initiate                           → msg,<hex>: this side asks
    msg,<hex>                          → msg,<hex> from the side that answers; from the side that asks
                                         have,<hex>… need,<hex>… and then msg,<hex> or done

It plays the reference profile; the environment's FRAMESIZELIMIT limits what it sends (0: no limit).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from fleetsync.merge.negentropy_wire import Key, Limits
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.reconcile import REFERENCE, Initiator, respond

# The tester is trusted, and may try sets and frame limits that take any number of rounds.
UNLIMITED = Limits(message=sys.maxsize, ranges=sys.maxsize, rounds=sys.maxsize)


class Side:
    """What one process knows: its set, and whether it asks."""

    def __init__(self, frame_limit: int) -> None:
        self._frame_limit = frame_limit
        self._items: list[Key] = []
        self._ranges = ListRanges([])
        self._initiator: Initiator | None = None

    def answer(self, line: str) -> Iterator[str]:
        """The lines that answer one line."""
        command, *values = line.split(",")
        if command == "item":
            self._items.append((int(values[0]), bytes.fromhex(values[1])))
        elif command == "seal":
            self._ranges = ListRanges(self._items)
        elif command == "initiate":
            self._initiator = Initiator(REFERENCE, self._frame_limit, UNLIMITED)
            yield f"msg,{self._initiator.initiate(self._ranges).hex()}"
        elif command == "msg":
            yield from self._message(bytes.fromhex(values[0]))
        else:
            raise SystemExit(f"unknown command: {command}")

    def _message(self, message: bytes) -> Iterator[str]:
        if self._initiator is None:
            yield f"msg,{respond(self._ranges, message, REFERENCE, self._frame_limit, UNLIMITED).hex()}"
            return
        step = self._initiator.receive(self._ranges, message)
        yield from (f"have,{identity.hex()}" for identity in step.have)
        yield from (f"need,{identity.hex()}" for identity in step.need)
        yield "done" if step.message is None else f"msg,{step.message.hex()}"


def main() -> None:
    """Answer until stdin ends."""
    side = Side(int(os.environ.get("FRAMESIZELIMIT") or 0))
    for line in sys.stdin:
        for answer in side.answer(line.strip()):
            sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
