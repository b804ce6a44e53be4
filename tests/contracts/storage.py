"""What every `Storage` does, as a test class: subclass it and say how a site is made.

A *site* is a device with a home: programs write files there, and its storage can be restarted. The
suite asks for nothing but the port and the files, so the in-memory reference and the real replica
are held to the same words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fleetsync import datasets
from fleetsync.merge import register
from fleetsync.merge.fingerprint import fingerprint, id_sum
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import (
    END,
    HELD,
    NOT_CARRIED,
    START,
    Bound,
    Group,
    HomeState,
    Item,
    Outcome,
    Storage,
    Verdict,
)
from fleetsync.records.names import DeviceId
from fleetsync.selection import EVERYTHING, Selection
from tests.fakes.fleet import START as NOW
from tests.fakes.fleet import FakeTime, device_id, event, log_path, manifest_path

PEER, OTHER = device_id("p"), device_id("q")
DEPLOY, MANIFEST = log_path("deploy"), manifest_path("deploy")
MANIFEST_TEXT = b"name: deploy\nversion: 1.0.0\nupdated_at: 2026-01-01T00:00:00Z\n"


class Site(ABC):
    """A device with a home, as a program on it sees it."""

    storage: Storage
    time: FakeTime
    device: DeviceId

    @abstractmethod
    def append(self, path: str, data: bytes) -> None:
        """Append raw bytes to a file, creating it and its directories."""

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Replace a file."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """What a file holds, empty if it is absent."""

    @abstractmethod
    def restart(self) -> None:
        """Close the storage and open it again over the same home."""

    def write(self, path: str, *lines: bytes) -> None:
        """Append finished lines and let storage see them."""
        self.append(path, b"".join(line + b"\n" for line in lines))
        self.storage.scan([path])

    def edit(self, path: str, value: bytes) -> None:
        """Replace a file and let storage see it."""
        self.put(path, value)
        self.storage.scan([path])


def version(
    device: DeviceId, n: int, value: bytes, *, vector: dict[str, int] | None = None, at: float = NOW
) -> bytes:
    """A version of a register as that device would author it."""
    micros = int(at * 1e6)
    stamp = Stamp(micros, micros, device, register.digest_of(value))
    number = max([n, *(vector or {}).values()])  # an author counts on from what it covers
    return register.encode(Version(Dot(device, number), vector or {}, stamp, value))


def members(storage: Storage) -> list[Item]:
    """Everything in the set."""
    return [item for page in storage.between(START, END) for item in page]


def bodies(storage: Storage, path: str) -> list[bytes]:
    """The bodies of one path."""
    return [item.body for item in members(storage) if item.path == path]


def give(storage: Storage, path: str, *items: bytes, origin: DeviceId = PEER) -> list[Verdict]:
    """Offer bodies of one path as a peer."""
    return storage.apply([Group(path, list(items))], origin)


def outcomes(verdicts: Sequence[Verdict]) -> list[Outcome]:
    """What became of each."""
    return [verdict.outcome for verdict in verdicts]


class StorageContract:
    """Every implementation passes; `make_site` is all that differs."""

    def make_site(self, directory: Path, letter: str) -> Site:
        """A new site with an empty home; the letter names its device."""
        raise NotImplementedError

    @pytest.fixture
    def sites(self, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
        """Two sites that have not met."""
        pair = self.make_site(tmp_path / "a", "a"), self.make_site(tmp_path / "b", "b")
        yield pair
        for site in pair:
            site.storage.close()

    @pytest.fixture
    def site(self, sites: tuple[Site, Site]) -> Site:
        """The first of them, with a live manifest for the skill `deploy`."""
        sites[0].edit(MANIFEST, MANIFEST_TEXT)
        return sites[0]

    # --- the set -----------------------------------------------------------------------------------

    def test_an_empty_home_is_the_empty_set(self, sites):
        """Nothing is known of an empty home, and its fingerprint is that of nothing."""
        head = sites[0].storage.head()
        assert (head.arrival, head.count, head.fingerprint) == (0, 0, fingerprint(0, 0))
        assert len(head.epoch) == 8
        assert members(sites[0].storage) == []

    def test_finished_lines_become_members(self, site):
        """A line counts once its newline is there, and not before."""
        first, second = event(1), event(2)
        site.append(DEPLOY, first + b"\n" + second[:20])
        assert site.storage.scan([DEPLOY])
        assert bodies(site.storage, DEPLOY) == [first]
        site.append(DEPLOY, second[20:] + b"\n")
        assert site.storage.scan(None)
        assert bodies(site.storage, DEPLOY) == [first, second]

    def test_a_scan_says_whether_the_set_changed(self, site):
        """Looking again at what is known, or at what is no dataset, changes nothing."""
        site.write(DEPLOY, event(1))
        before = site.storage.head()
        assert not site.storage.scan(None)
        assert not site.storage.scan([DEPLOY, "auth.json", "../etc/passwd", "skills/deploy/other.txt"])
        assert site.storage.head() == before

    def test_the_head_is_the_sum_of_the_members(self, site):
        """Count and fingerprint are functions of the members alone."""
        site.write(DEPLOY, *[event(n) for n in range(50)])
        ids = [item.key.id for item in members(site.storage)]
        head = site.storage.head()
        assert head.count == len(ids) == 51
        assert head.fingerprint == fingerprint(id_sum(ids), len(ids))

    def test_order_and_duplicates_do_not_matter(self, sites):
        """Two devices that were given the same items in another order, some twice, are equal."""
        lines = [event(n) for n in range(30)]
        give(sites[0].storage, DEPLOY, *lines)
        for line in [*reversed(lines), *lines[::3]]:
            give(sites[1].storage, DEPLOY, line)
        one, other = (site.storage.head() for site in sites)
        assert (one.count, one.fingerprint) == (other.count, other.fingerprint)

    def test_one_identity_is_one_member(self, site):
        """Of two bodies with one identity the first one known here stays, and the other is reported."""
        first = event(1)
        second = first.replace(b"}", b',"note":"another"}')
        assert datasets.identify(DEPLOY, first) == datasets.identify(DEPLOY, second)
        site.write(DEPLOY, first)
        assert outcomes(give(site.storage, DEPLOY, second)) == [Outcome.KNOWN]
        assert bodies(site.storage, DEPLOY) == [first]
        assert site.storage.condition().collisions == 1

    def test_a_shrunken_log_is_refilled(self, site):
        """Lines that were cut from a file are members again as soon as a peer gives them back."""
        site.write(DEPLOY, event(1), event(2), event(3))
        before = site.storage.head()
        site.edit(DEPLOY, event(1) + b"\n")
        give(site.storage, DEPLOY, event(2), event(3))
        after = site.storage.head()
        assert (after.count, after.fingerprint) == (before.count, before.fingerprint)

    # --- what comes from peers ---------------------------------------------------------------------

    def test_applying_is_idempotent(self, site):
        """The first time an item is new, every other time it is known, and the set is the same."""
        lines = [event(n) for n in range(5)]
        assert outcomes(give(site.storage, DEPLOY, *lines)) == [Outcome.NEW] * 5
        head = site.storage.head()
        assert outcomes(give(site.storage, DEPLOY, *lines)) == [Outcome.KNOWN] * 5
        assert site.storage.head() == head

    def test_an_applied_line_is_in_the_file_as_it_was_written(self, site):
        """Lines of a skill with a manifest are appended, byte for byte, and read back as known."""
        line = event(7).replace(b":", b" : ", 1).replace(b"}", b',"unknown":1e2}')
        site.write(DEPLOY, event(1))
        give(site.storage, DEPLOY, line)
        assert site.read(DEPLOY).split(b"\n").count(line) == 1
        assert not site.storage.scan(None)

    def test_a_half_written_line_is_never_glued(self, site):
        """Another writer's unfinished line keeps its own line."""
        site.append(DEPLOY, event(1) + b"\n" + b'{"kind":"retr')
        site.storage.scan([DEPLOY])
        give(site.storage, DEPLOY, event(2))
        assert site.read(DEPLOY).split(b"\n").count(event(2)) == 1

    def test_bad_bodies_are_refused_one_by_one(self, site):
        """What no correct peer accepts is refused with a reason; the rest of the batch is taken."""
        too_large = event(3)[:-1] + b',"note":"' + b"x" * datasets.MAX_BODY + b'"}'
        verdicts = site.storage.apply(
            [
                Group("../outside/events.jsonl", [event(1)]),
                Group("auth.json", [b"{}"]),
                Group(DEPLOY, [b"not json", event(1) + b"\n" + event(2), too_large, event(4)]),
                Group(MANIFEST, [b"no version"]),
            ],
            PEER,
        )
        assert outcomes(verdicts) == [Outcome.REFUSED] * 5 + [Outcome.NEW, Outcome.REFUSED]
        assert all(verdict.reason for verdict in verdicts if verdict.outcome is Outcome.REFUSED)
        assert bodies(site.storage, DEPLOY) == [event(4)]

    def test_malformed_local_lines_stay_and_are_counted(self, site):
        """A line that cannot be keyed is no member, is left in the file and is reported."""
        site.write(DEPLOY, b"not json", event(1))
        assert bodies(site.storage, DEPLOY) == [event(1)]
        assert b"not json\n" in site.read(DEPLOY)
        assert site.storage.condition().malformed == 1
        assert site.storage.condition().state is HomeState.OK

    # --- arrivals ----------------------------------------------------------------------------------

    def test_arrivals_are_numbered_in_the_order_in_which_they_became_known(self, site):
        """Each new member has the next number and says who brought it; event time plays no part."""
        start = site.storage.head().arrival
        site.write(DEPLOY, event(5))
        give(site.storage, DEPLOY, event(1), event(9), origin=PEER)
        give(site.storage, DEPLOY, event(3), origin=OTHER)
        found = site.storage.arrivals(start, 1 << 20)
        assert [arrival.number for arrival in found] == list(range(start + 1, start + 5))
        assert [arrival.item.body for arrival in found] == [event(5), event(1), event(9), event(3)]
        assert [arrival.origin for arrival in found] == [None, PEER, PEER, OTHER]
        assert site.storage.head().arrival == start + 4

    def test_arrivals_come_in_bounded_pages(self, site):
        """A page ends before the limit is passed, but never before its first member."""
        site.write(DEPLOY, *[event(n) for n in range(10)])
        start, size = site.storage.head().arrival - 10, len(event(0))
        assert len(site.storage.arrivals(start, 3 * size)) == 3
        assert len(site.storage.arrivals(start, 1)) == 1
        assert site.storage.arrivals(start + 10, 1 << 20) == []

    # --- reading -----------------------------------------------------------------------------------

    def test_bodies_by_id(self, site):
        """Known ids give their members in key order, each once; unknown ids give nothing."""
        site.write(DEPLOY, event(3), event(1), event(2))
        ids = [datasets.identify(DEPLOY, event(n)).id for n in (2, 3, 1, 2)]
        found = [item for page in site.storage.bodies([*ids, bytes(32)]) for item in page]
        assert [item.body for item in found] == [event(1), event(2), event(3)]
        assert all(item.path == DEPLOY for item in found)
        assert list(site.storage.bodies([])) == []

    def test_bodies_come_in_pages(self, site):
        """However large members are, in whatever order they are asked for: a page holds at most 1 MiB."""
        large = [event(n)[:-1] + b',"note":"' + b"x" * 400_000 + b'"}' for n in range(6)]
        site.write(DEPLOY, *large)
        ids = [datasets.identify(DEPLOY, line).id for line in reversed(large)]
        pages = list(site.storage.bodies(ids))
        assert [len(page) for page in pages] == [2, 2, 2]
        assert [item.body for page in pages for item in page] == large

    def test_between_gives_what_lies_between(self, site):
        """Every member at or above the lower and below the upper bound, and no other."""
        site.write(DEPLOY, *[event(n) for n in range(20)])
        keys = sorted(datasets.identify(DEPLOY, event(n)) for n in range(20))
        pages = site.storage.between(Bound(*keys[5]), Bound(*keys[15]))
        assert sorted(item.key for page in pages for item in page) == keys[5:15]
        prefix = Bound(keys[5].ts, keys[5].id[:4])
        assert {i.key for page in site.storage.between(prefix, END) for i in page} >= set(keys[5:])

    def test_registers_come_before_lines(self, site):
        """A manifest arrives before the lines that wait for it, and paths stay together."""
        other = log_path("aaa")
        site.write(DEPLOY, event(1), event(2))
        give(site.storage, other, event(1))
        paths = [item.path for item in members(site.storage)]
        assert paths[0] == MANIFEST
        assert sorted(paths[1:]) == paths[1:] or sorted(paths[1:], reverse=True) == paths[1:]

    def test_pages_are_bounded(self, site):
        """No page holds more than 1 MiB of bodies."""
        padding = b',"note":"' + b"x" * 200_000 + b'"}'
        site.write(DEPLOY, *[event(n)[:-1] + padding for n in range(12)])
        pages = [sum(len(item.body) for item in page) for page in site.storage.between(START, END)]
        assert max(pages) <= 1 << 20
        assert sum(pages) > 12 * 200_000

    def test_ranges_are_the_set_in_key_order(self, site):
        """Positions, keys, bounds and sums agree with the members."""
        site.write(DEPLOY, *[event(n) for n in range(40)])
        keys = sorted(item.key for item in members(site.storage))
        ranges = site.storage.ranges()
        assert ranges.size() == len(keys)
        assert [tuple(ranges.key(n)) for n in range(len(keys))] == keys
        assert [tuple(key) for key in ranges.keys(3, 9)] == keys[3:9]
        assert ranges.sum(3, 30) == id_sum(key.id for key in keys[3:30])
        assert ranges.lower_bound(Bound(*keys[7])) == 7
        assert ranges.lower_bound(Bound(keys[7].ts, keys[7].id[:2]), 2) == 7
        assert ranges.lower_bound(END) == len(keys)
        assert 0 < ranges.snap(0, len(keys), 20) < len(keys)

    # --- what is carried ---------------------------------------------------------------------------

    def test_a_part_of_the_set_is_a_set(self, site):
        """Head and ranges of the paths that another device carries too are those of their members alone."""
        other = log_path("build")
        site.write(DEPLOY, *[event(n) for n in range(20)])
        give(site.storage, other, *[event(n) for n in range(20)])
        carried = Selection(("skills/build",))
        keys = sorted(item.key for item in members(site.storage) if carried.carries(item.path))
        head, ranges = site.storage.head(carried), site.storage.ranges(carried)
        assert head.count == ranges.size() == len(keys) == 21
        assert head.fingerprint == fingerprint(id_sum(key.id for key in keys), len(keys))
        assert (head.epoch, head.arrival) == (site.storage.head().epoch, site.storage.head().arrival)
        assert [tuple(key) for key in ranges.keys(0, 21)] == keys
        site.write(DEPLOY, event(50))
        give(site.storage, other, event(50))
        assert site.storage.head(carried).count == site.storage.ranges(carried).size() == 22

    def test_a_part_of_the_set_follows_what_leaves_the_rest(self, site):
        """A version that is superseded in what is left out elsewhere changes nothing of the part."""
        carried = Selection(("skills/deploy/skill.yaml",))
        site.write(DEPLOY, event(1))
        before = site.storage.head(carried)
        site.time.elapsed += 10
        site.edit(MANIFEST, MANIFEST_TEXT + b"x: 1\n")
        after = site.storage.head(carried)
        assert (after.count, after.fingerprint) == (before.count, before.fingerprint)

    def test_what_is_left_out_is_no_member(self, site):
        """It leaves the set, is not read and not taken, and nothing of it is a fault of anybody's."""
        site.write(DEPLOY, event(1))
        assert site.storage.select(Selection(("skills/*/events.jsonl",)))
        assert [item.path for item in members(site.storage)] == [MANIFEST]
        site.write(DEPLOY, event(2))
        assert give(site.storage, DEPLOY, event(3)) == [Verdict(Outcome.REFUSED, NOT_CARRIED)]
        assert [item.path for item in members(site.storage)] == [MANIFEST]
        assert site.read(DEPLOY).split() == [event(1), event(2)]
        assert not site.storage.select(Selection(("skills/*/events.jsonl",)))

    def test_what_is_carried_again_is_the_member_that_it_was(self, site):
        """No new version and no other line: the set is the one from before, with what was added."""
        site.write(DEPLOY, event(1))
        before = site.storage.head()
        site.storage.select(Selection(("**",)))
        assert site.storage.head().count == 0
        assert site.storage.select(EVERYTHING)
        after = site.storage.head()
        assert (after.count, after.fingerprint) == (before.count, before.fingerprint)
        site.storage.select(Selection(("**",)))
        site.write(DEPLOY, event(2))
        site.storage.select(EVERYTHING)
        assert bodies(site.storage, DEPLOY) == [event(1), event(2)]

    # --- registers ---------------------------------------------------------------------------------

    def test_a_changed_file_becomes_a_version(self, sites):
        """A register's member is a version; equal content mints nothing."""
        site = sites[0]
        site.edit(MANIFEST, MANIFEST_TEXT)
        [body] = bodies(site.storage, MANIFEST)
        assert register.decode(body).value == MANIFEST_TEXT
        assert not site.storage.scan([MANIFEST])

    def test_an_edit_replaces_what_it_was_made_from(self, site):
        """Only the newest of a chain of edits stays in the set."""
        site.time.elapsed += 10
        site.edit(MANIFEST, MANIFEST_TEXT + b"x: 1\n")
        [body] = bodies(site.storage, MANIFEST)
        assert register.decode(body).value == MANIFEST_TEXT + b"x: 1\n"

    def test_a_newer_version_is_applied_and_an_older_one_is_superseded(self, site):
        """A version made in knowledge of another replaces it; the replaced one is answered with it."""
        [mine] = bodies(site.storage, MANIFEST)
        known = register.known_vector([register.decode(mine)])
        newer = version(PEER, 1, b"name: deploy\nnewer: true\n", vector=known, at=NOW - 500)
        assert outcomes(give(site.storage, MANIFEST, newer)) == [Outcome.NEW]
        assert site.read(MANIFEST) == b"name: deploy\nnewer: true\n"
        assert bodies(site.storage, MANIFEST) == [newer]
        [verdict] = give(site.storage, MANIFEST, mine)
        assert (verdict.outcome, verdict.covering) == (Outcome.SUPERSEDED, newer)

    def test_concurrent_versions_end_alike_everywhere(self, sites):
        """Of versions made without knowledge of each other all stay, and every device applies the same."""
        for site, text in zip(sites, (b"from: a\n", b"from: b\n"), strict=True):
            site.edit(MANIFEST, text)
        for here, there in (sites, reversed(sites)):
            give(here.storage, MANIFEST, *bodies(there.storage, MANIFEST), origin=there.device)
        assert len(bodies(sites[0].storage, MANIFEST)) == 2
        assert sites[0].storage.head().fingerprint == sites[1].storage.head().fingerprint
        assert sites[0].read(MANIFEST) == sites[1].read(MANIFEST)
        assert not any(site.storage.scan(None) for site in sites)

    def test_an_edit_that_nobody_saw_yet_is_not_written_over(self, site):
        """A peer's version never destroys what was saved a moment ago: the edit becomes a version too."""
        site.put(MANIFEST, b"saved: a moment ago\n")
        give(site.storage, MANIFEST, version(PEER, 1, b"from: peer\n", at=NOW + 60))
        site.storage.scan(None)
        values = {register.decode(body).value for body in bodies(site.storage, MANIFEST)}
        assert values == {b"saved: a moment ago\n", b"from: peer\n"}

    def test_a_version_from_the_future_is_held(self, site):
        """Beyond the allowed skew a version is a member and not applied, until its time has come."""
        future = version(PEER, 1, b"from: the future\n", at=NOW + 7200)
        assert give(site.storage, MANIFEST, future) == [Verdict(Outcome.NEW, HELD)]
        assert site.read(MANIFEST) == MANIFEST_TEXT
        assert site.storage.condition().held == 1
        site.time.elapsed += 7200
        site.storage.settle()
        assert site.read(MANIFEST) == b"from: the future\n"

    def test_a_device_publishes_for_itself_alone(self, site):
        """What it says of itself is taken in its own name only, has no file, and is never taken back."""
        path, value = f"devices/{PEER}/agent-keys", b'{"agents":{}}'
        assert outcomes(give(site.storage, path, version(OTHER, 1, value))) == [Outcome.REFUSED]
        assert outcomes(give(site.storage, path, version(PEER, 1, b"anything"))) == [Outcome.REFUSED]
        own = version(PEER, 1, value)
        assert outcomes(give(site.storage, path, own, origin=OTHER)) == [Outcome.NEW]
        assert bodies(site.storage, path) == [own]
        assert site.read(path) == b""

    def test_numbers_of_versions_never_repeat(self, site):
        """What peers know of this device's numbers is minted above, also after a restart."""
        site.storage.learn_dot(40)
        site.restart()
        site.edit(MANIFEST, MANIFEST_TEXT + b"again: 1\n")
        dots = [register.decode(body).dot for body in bodies(site.storage, MANIFEST)]
        assert max(dot.n for dot in dots if dot.device == site.device) > 40
        assert site.storage.highest_dot(site.device) == max(dot.n for dot in dots)

    def test_highest_dot_of_others(self, site):
        """The highest number known of any device, from versions and from their vectors."""
        give(site.storage, MANIFEST, version(PEER, 17, b"x: 1\n", vector={OTHER: 12}))
        assert site.storage.highest_dot(PEER) == 17
        assert site.storage.highest_dot(OTHER) == 12
        assert site.storage.highest_dot(device_id("z")) == 0

    # --- lasting -----------------------------------------------------------------------------------

    def test_a_restart_loses_nothing(self, site):
        """The set after a restart is the set before; cursors go on or belong to another epoch."""
        site.write(DEPLOY, event(1))
        give(site.storage, DEPLOY, event(2))
        give(site.storage, MANIFEST, version(PEER, 1, b"from: peer\n"))
        before = site.storage.head()
        site.restart()
        after = site.storage.head()
        assert (after.count, after.fingerprint) == (before.count, before.fingerprint)
        assert after.epoch != before.epoch or after.arrival >= before.arrival

    def test_lines_written_while_it_was_down_are_found(self, site):
        """What programs wrote meanwhile is taken in by the first scan."""
        site.write(DEPLOY, event(1))
        site.append(DEPLOY, event(2) + b"\n")
        site.restart()
        site.storage.scan(None)
        assert bodies(site.storage, DEPLOY) == [event(1), event(2)]

    def test_settling_nothing_changes_nothing(self, site):
        """When nothing is due the set stays as it is."""
        before = site.storage.head()
        assert not site.storage.settle()
        assert site.storage.head() == before

    def test_closing_twice_is_closing_once(self, site):
        """Closing is idempotent."""
        site.storage.close()
        site.storage.close()
