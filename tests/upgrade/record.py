"""Record a conversation of two devices of this version: `python -m tests.upgrade.record TAPE`.

Run once for a version, when it is released or its wire changes; the tape is committed and never
changed. The two homes hold something of every dataset, a deletion and a conflict.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from fleetsync.ports import INFINITY, Bound, Storage
from fleetsync.sync.exchange import Ending
from fleetsync.sync.push import Outbox
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.wire import codec
from tests.contracts.test_replica import DiskSite
from tests.fakes.fleet import FakeCaller, event, make_local
from tests.upgrade.tape import Recorder, Tape

MANIFEST = "name: {0}\nversion: 1.0.0\npublisher: human:test\ndescription: of {1}\n"
CHANNEL = (
    "schema_version: 2\nid: {0}\ngoal: ship\nstate: working\ncreated_at: 2026-09-20T10:00:00Z\n"
    "updated_at: 2026-09-20T10:00:00Z\nparticipants: []\n"
)

SAID = (
    '{{"seq":1,"ts":"2026-09-20T10:00:0{0}Z","actor":{{"kind":"local_human","name":"{1}"}},"kind":"message",'
    '"payload":{{"text":"hello"}}}}\n'
)


def fill(site: DiskSite, mine: str) -> None:
    """What a person has on one laptop: `mine` differs between the two."""
    skills = ("both", mine, "gone") if mine == "desk" else ("both", mine)
    for skill in skills:
        site.put(f"skills/{skill}/skill.yaml", MANIFEST.format(skill, mine).encode())
        lines = [event(number, mine) for number in range(40)]
        site.append(f"skills/{skill}/events.jsonl", b"".join(line + b"\n" for line in lines))
    site.put("channels/plan/channel.yaml", CHANNEL.format("plan").encode())
    site.append("channels/plan/events.jsonl", SAID.format(len(mine), mine).encode())
    site.put(f"agents/{mine}/sys_prompt.md", f"You are {mine}.\n".encode())
    site.append("open-items.jsonl", f'{{"id":"{mine}","title":"later"}}\n'.encode())
    site.append("experience/main/events.jsonl", f'{{"id":"{mine}","at":"2026-09-20T10:00:00Z"}}\n'.encode())


def batches_of(storage: Storage) -> list[bytes]:
    """The whole set as encoded batches."""
    pages = storage.between(Bound(0, b""), Bound(INFINITY, b""))
    groups = codec.grouped(item for page in pages for item in page)
    return [codec.encode(batch) for batch in codec.batches(groups)]


async def record(directory: Path) -> Tape:
    """Two laptops that were never joined exchange everything."""
    desk, travel = DiskSite(directory, "d"), DiskSite(directory, "t")
    fill(desk, "desk")
    fill(travel, "travel")
    for site in (desk, travel):
        site.storage.scan(None)
    (directory / "d/home/skills/gone/events.jsonl").unlink()
    (directory / "d/home/skills/gone/skill.yaml").unlink()
    (directory / "d/home/skills/gone").rmdir()
    for _ in range(3):
        desk.time.elapsed += 6
        desk.storage.scan(None)
        desk.storage.settle()
    tape = Tape(travel.device)
    tape.before = {"caller": batches_of(desk.storage), "callee": batches_of(travel.storage)}
    caller = make_local(desk.device, desk.storage, desk.time)
    callee = make_local(travel.device, travel.storage, travel.time)
    outbox = Outbox(callee.desk, caller.card.device, travel.time.monotonic)
    responder = Responder(callee, FakeCaller(caller.card.device, outbox, travel.time.monotonic))
    exchange = await Session(caller, Recorder(responder, tape)).run()
    assert exchange.ending is Ending.CONVERGED, exchange
    tape.end = travel.storage.head().fingerprint
    return tape


def main(path: Path) -> None:
    """Write the tape."""
    with tempfile.TemporaryDirectory() as directory:
        tape = anyio.run(record, Path(directory))
    tape.write(path)
    sys.stdout.write(f"{path}: {len(tape.calls)} calls, end {tape.end.hex()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
