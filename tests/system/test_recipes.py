"""The recipes of docs/recipes.md, done as they are written, by real daemons."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

from tests.system.fleet import (
    LOG,
    MANIFEST,
    SKILL,
    Document,
    Fleet,
    Laptop,
    connected,
    events,
    manifest,
    pair,
    until,
)

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
DIARY = "skills/diary"


def recipe(title: str, language: str = "sh") -> list[str]:
    """The lines of the blocks below that heading."""
    section = re.split(rf"^## {re.escape(title)}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return [line for block in found for line in block.splitlines()]


def follow(laptop: Laptop, title: str, *, only: str = "") -> list[Document]:
    """Type the commands of a recipe on a laptop; what each printed."""
    lines = [line for line in recipe(title) if line.startswith(f"fleetsync {only}")]
    assert lines
    documents: list[Document] = []
    for line in lines:
        done = laptop.run(*shlex.split(line)[1:], "--json")
        assert done.returncode in (0, 3, 5), f"{line}: {done.stdout}{done.stderr}"
        documents += [json.loads(each) for each in done.stdout.splitlines()]
    return documents


def configure(laptop: Laptop, title: str) -> None:
    """Write the settings of a recipe into a laptop's configuration."""
    laptop.configure("\n".join(recipe(title, "toml")) + "\n")


def travel_and_office(fleet: Fleet) -> tuple[Laptop, Laptop]:
    """Two running laptops with a skill, `travel` the one that is typed on."""
    travel, office = fleet.laptop("travel").start(), fleet.laptop("office").start()
    pair(travel, office)
    travel.skill()
    until(lambda: office.read(MANIFEST), "the skill has arrived")
    connected((travel, office))
    return travel, office


def agree(*laptops: Laptop) -> bool:
    """Whether each shows the same of what both carry, and no error."""
    peers = [peer for laptop in laptops for peer in laptop.status()["peers"]]
    return all(
        peer["converged"] and not peer["error"] and peer["fingerprint_local"] == peer["fingerprint_remote"]
        for peer in peers
    )


def test_a_private_skill_stays(fleet: Fleet) -> None:
    """Made private while the daemon runs, it does not leave; everything else goes on, and all agree."""
    travel, office = travel_and_office(fleet)
    configure(travel, "Keep a skill private")
    [_, status] = follow(travel, "Keep a skill private")
    assert status["selection"]["private"] == ["diary", "tax-*"]
    travel.write(f"{DIARY}/skill.yaml", manifest("mine", name="diary"))
    travel.append(events("travel", 5), f"{DIARY}/events.jsonl")
    lines = travel.append(events("travel", 5))
    until(lambda: office.holds(lines), "what is not private has arrived")
    until(lambda: agree(travel, office), "both agree")
    travel.ask("sync")
    assert not (office.home / DIARY).exists()
    assert b"diary" not in b"".join(file.read_bytes() for file in office.state.glob("*.db*"))
    assert "diary" not in office.said()
    assert office.peer(travel)["excluded"] == []


def test_a_part_of_home_is_excluded_and_included_again(fleet: Fleet) -> None:
    """Nothing crosses, nothing is deleted, nothing counts twice; later everything is there."""
    travel, office = travel_and_office(fleet)
    office.write("open-items.jsonl", b"")
    lines = travel.append(events("travel", 10))
    until(lambda: office.holds(lines), "all is there")
    configure(office, "Exclude a part of home")
    office.configure('[sync]\nexclude = ["skills/deploy"]\n')
    follow(office, "Exclude a part of home")
    until(lambda: agree(travel, office), "both agree on the rest")
    assert travel.peer(office)["excluded"] == [SKILL]
    more = travel.append(events("travel", 10, start=10))
    shutil.rmtree(office.home / SKILL)
    until(lambda: agree(travel, office), "both still agree")
    office.configure()
    office.ask("reload")
    until(lambda: office.holds(lines + more), "all is there again")
    until(lambda: office.counted()["usage_count"] == 20, "and counted once")
    assert travel.read(MANIFEST)
    until(lambda: agree(travel, office), "both agree on everything")


def test_the_recipe_for_datasets_is_taken(fleet: Fleet) -> None:
    """The settings on the page are in force after a reload; broken ones are told, and change nothing."""
    travel, _ = travel_and_office(fleet)
    configure(travel, "Exclude a part of home")
    [_, status] = follow(travel, "Exclude a part of home")
    assert status["selection"]["datasets"] == ["skill-*", "channel-*"]
    assert status["selection"]["exclude"] == ["channels/scratch-*"]
    travel.configure('[sync]\nexclude = ["a//b"]\n')
    error = travel.ask("reload", code=2)["error"]
    assert "sync.exclude: 'a//b' is not a glob" in error["message"]
    broken = travel.status()
    assert [alert["code"] for alert in broken["alerts"]] == ["broken-config"]
    assert broken["selection"] == status["selection"]
    travel.configure()
    travel.ask("reload")
    assert travel.status()["alerts"] == []


def test_a_direction_is_chosen(fleet: Fleet) -> None:
    """Nothing of ours goes there, both are converged without errors; undone, it catches up."""
    travel, office = travel_and_office(fleet)
    [received, listed, _] = follow(travel, "Only receive from a device, or only send")
    assert received["peer"]["direction"] == listed["peers"][0]["direction"] == "receive"
    travel.ask("peers", "direction", "office", "receive")
    mine, theirs = travel.append(events("travel", 5)), office.append(events("office", 5))
    until(lambda: travel.holds(mine + theirs), "theirs have come")
    office.run("sync")
    until(
        lambda: all(
            p["converged"] and not p["error"] for p in (*office.status()["peers"], *travel.status()["peers"])
        ),
        "fine",
    )
    assert office.holds(theirs)
    travel.stop()
    travel.start()
    assert travel.peer(office)["direction"] == "receive"
    travel.ask("peers", "direction", "office", "both")
    until(lambda: office.holds(mine + theirs), "ours have gone")


def test_a_deleted_skill_is_restored(fleet: Fleet) -> None:
    """Deleted on one, restored on the other: it is on both again, lines and all."""
    travel, office = travel_and_office(fleet)
    lines = travel.append(events("travel", 5))
    until(lambda: office.holds(lines), "all is there")
    shutil.rmtree(office.home / SKILL)
    until(lambda: not (travel.home / SKILL).exists(), "it is deleted")
    follow(travel, "Restore a deleted skill")
    until(lambda: office.holds(lines) and travel.holds(lines), "it is back")


def test_the_local_version_wins(fleet: Fleet) -> None:
    """What stands here stands there too, and what stood there is in history."""
    travel, office = travel_and_office(fleet)
    office.write(MANIFEST, manifest("theirs", version="2.0.0"))
    until(lambda: travel.mentions(b"theirs", MANIFEST), "it has come")
    travel.write(MANIFEST, manifest("ours", version="1.9.0"))
    follow(travel, "Make this device's version win")
    until(lambda: office.mentions(b"ours", MANIFEST), "ours is there")


def _all_mention(laptop: Laptop, paths: list[str], text: bytes) -> bool:
    return all(laptop.mentions(text, path) for path in paths)


def test_a_backup_is_put_back(fleet: Fleet) -> None:
    """Old files do not win; a person agrees, and all is in order."""
    travel, office = travel_and_office(fleet)
    paths = [f"skills/s{n}/skill.yaml" for n in range(6)]
    for text in ("old", "new"):
        for path in paths:
            travel.write(path, manifest(text, name=path.split("/")[1]))
        until(partial(_all_mention, office, paths, text.encode()), f"{text} ones are there")
    travel.stop()
    for path in paths:
        travel.write(path, manifest("old", name=path.split("/")[1]))
    travel.start()
    until(lambda: all(travel.mentions(b"new", p) for p in paths), "the current ones are back")
    [asked, _] = follow(travel, "After restoring a backup")
    assert asked["cause"] == "restored"
    assert all(office.mentions(b"new", path) for path in paths)
    assert travel.status()["home"]["state"] == "ok"


def test_a_laptop_is_replaced(fleet: Fleet) -> None:
    """The lost one is distrusted, the new one is paired and gets everything."""
    travel, office = travel_and_office(fleet)
    lines = travel.append(events("travel", 5))
    office.kill()
    follow(travel, "A replaced laptop")
    assert travel.status()["peers"] == []
    fresh = fleet.laptop("fresh").start()
    pair(travel, fresh)
    until(lambda: fresh.holds(lines), "the new one has everything")
    assert [line.split()[1] for line in recipe("A new laptop")] == ["pair", "pair"]


def test_home_is_moved(fleet: Fleet) -> None:
    """With the daemon stopped: nothing is taken for deleted, and syncing goes on."""
    travel, office = travel_and_office(fleet)
    assert [line.split()[0] for line in recipe("Moving home")] == ["fleetsync", "mv", "MUR_HOME=~/elsewhere"]
    travel.stop()
    moved = travel.home.rename(travel.root / "elsewhere")
    travel.home = moved
    travel.start()
    lines = travel.append(events("travel", 5))
    until(lambda: office.holds(lines), "it goes on")
    assert office.read(LOG)
    assert travel.status()["home"]["path"] == os.fspath(moved)
    assert travel.status()["alerts"] == []
