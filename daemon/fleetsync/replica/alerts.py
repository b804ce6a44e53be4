"""What `status` and `doctor` tell a person about home, in words: what is the matter, where, what to do.

Rule of the file: one function per alert, values in, an `Alert` out; codes are stable names (docs/cli.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleetsync.errors import HomeMissing
from fleetsync.ports import Alert
from fleetsync.records import timestamps
from fleetsync.records.model_entries import Level, SecretProblem
from fleetsync.replica.guard import Cause, Held
from fleetsync.replica.versions import Member


def stats_unreadable(reason: str) -> Alert:
    """A stats.json that mur could not read."""
    return Alert("stats-unreadable", "Counting waits.", reason, "mend or remove the file")


def file_trouble(reason: str) -> Alert:
    """A file that could not be read or written."""
    return Alert("file-trouble", "A file could not be synced.", reason, "run `fleetsync doctor`")


def missing(home: Path) -> Alert:
    """Home is gone."""
    error = HomeMissing(f"{home} is not there")
    return Alert(error.code, error.title(), error.message, error.next)


def held(member: Member) -> Alert:
    """A version whose time has not come."""
    path, stamp = member.stored.path, member.version.stamp
    when = timestamps.at(stamp.hybrid * 1000).canonical
    detail = f"{path} of {stamp.device[:7]} is stamped {when}, further ahead of this clock than is allowed"
    return Alert("held", "A version from the future is held.", detail, "set the clock of that device right")


def dated_ahead(count: int, paths: Sequence[str]) -> Alert:
    """Lines that bear a date further ahead than clocks may differ."""
    where = ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
    lines = "one line is" if count == 1 else f"{count} lines are"
    detail = f"{lines} dated further ahead of this clock than is allowed, and written all the same: {where}"
    step = "set the clock right on the device that wrote them (`fleetsync log` shows which)"
    return Alert("dated-ahead", "Lines come from the future.", detail, step)


def left_out(path: str, why: str) -> Alert:
    """A part of a file that stays on this device."""
    step = "write it in a plainer way if it shall sync; what stands here is left alone"
    return Alert("left-out", "Something in a file does not sync.", f"{path}: {why}", step)


_NEXT = {
    Level.FLAGGED: "make sure that there is such a file here too",
    Level.DEGRADED: "make the secret known here; the daemon looks in its own environment and in the keychain",
}


def unusable(path: str, problem: SecretProblem) -> Alert:
    """A value that this device can make no use of yet, or that a person should look at."""
    step = _NEXT.get(problem.level, "take it out of the file")
    return Alert(problem.level.value, f"A model is {problem.level.value}.", f"{path}: {problem.detail}", step)


def spelled_twice(path: str, spelling: str | None) -> Alert:
    """A path that differs from another one in upper and lower case alone."""
    detail = f"{path} is parked: on some disks it would be the same file as below {spelling}"
    return Alert("spelled-twice", "Two names differ in case alone.", detail, "rename one of the two")


def signature_wrong(path: str, agent: str, devices: Sequence[str], count: int) -> Alert:
    """Lines that are not from whom they say; the authors are named, not who brought them."""
    authors = " or ".join(device[:7] for device in devices)
    lines = "one line" if count == 1 else f"{count} lines"
    detail = f"{path}: {lines} in the name of agent {agent} of {authors}, not signed with its key"
    step = f"run `fleetsync log channel:{path.split('/')[1]} --verify`; look at agents/{agent} on that device"
    return Alert("signature-wrong", "A channel line is not from whom it says.", detail, step)


def needs_key(agent: str, lacking: Sequence[str]) -> Alert:
    """An agent that came from another device and cannot run here yet."""
    more = [f"`{name}`" for name in lacking if name != "identity"]
    detail = f"agents/{agent}/profile.yaml has come, but agent {agent} has no key on this device"
    rekey = f"run `mur agent rekey {agent} --emergency`, which makes one"
    if more:
        detail += f"; it also lacks {', '.join(more)}"
        rekey = f"add {', '.join(more)} to that file as other agents here have it, then {rekey}"
    return Alert("needs-key", "An agent needs a key on this device.", detail, rekey)


def newer_channel(path: str, version: int) -> Alert:
    """A manifest whose meaning is not known here."""
    detail = f"{path} is of version {version}: it is carried whole, and its participants are not united"
    return Alert(
        "newer-channel", "A newer mur wrote a channel.", detail, "bring mur and fleetsync up to date"
    )


_ASKED = {
    Cause.DELETED_HERE: "{n} things are gone from home at once: {paths}",
    Cause.DELETED_ELSEWHERE: "{n} things were deleted on another device at once: {paths}",
    Cause.FLOODED: "a peer has brought more than is allowed in an hour, and the rest is parked: {paths}",
    Cause.RESTORED: "home looks like an older backup; the current values were put back: {paths}",
}


def guarded(question: Held) -> Alert:
    """Many things are gone at once, or have gone back in time."""
    shown = ", ".join(question.paths[:3]) + (", …" if len(question.paths) > 3 else "")
    detail = _ASKED[question.cause].format(n=len(question.paths), paths=shown)
    step = "`fleetsync guard confirm` if it was meant, `fleetsync guard undo` if not"
    return Alert("guarded", "fleetsync waits for your word.", detail, step)
