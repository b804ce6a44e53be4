"""Which paths a device carries: rules made of globs, and the skills that never leave it.

A rule is a glob, or `!` and a glob; a path is carried unless the last rule that fits it is one without
`!`. Rules are told to peers, private skills to nobody who has not named them first. A glob has parts
between slashes: `*` stands for any characters of a name, `?` for one, `**` alone for any number of
names; a glob that fits a directory fits all below it. Matching takes time in proportion to both lengths,
whatever a peer sends. Knows nothing of datasets or config files. Implements SEMANTICS §1.4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

MAX_GLOB = 256
"""Characters."""
MAX_RULES = 1024
"""Of one peer; what it tells beyond is not heeded."""
_REMEMBERED, _COMPILED = 8192, 4096

_ALIEN = re.compile(r"[^ -~]|[\\:\"<>|\[\]{}!]")
_OF_SKILL = re.compile(r"(?:agents/[^/]+/)?skills/([^/]+)(?:/.*)?")
_SKILL_GLOB = re.compile(r"[a-z0-9*?-]{1,64}")


def require_glob(text: str) -> str:
    """`text` itself, if it is a glob; raises `ValueError` that says what is wrong with it."""
    if (found := _ALIEN.search(text)) is not None:
        raise ValueError(f"{text[:80]!r} is not a glob: {found[0]!r} has no meaning in it")
    if not text or len(text) > MAX_GLOB:
        raise ValueError(f"{text[:80]!r} is not a glob: it has 1 to {MAX_GLOB} characters")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError(f"{text[:80]!r} is not a glob: it is relative to home and has a name in each part")
    if any("**" in part and part != "**" for part in text.split("/")):
        raise ValueError(f"{text[:80]!r} is not a glob: ** stands alone between slashes")
    return text


def require_skill_glob(text: str) -> str:
    """`text` itself, if it is a skill's name or a glob for some; raises `ValueError`."""
    if _SKILL_GLOB.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!r} is not a skill's name; * and ? may stand in it")
    return text


@dataclass(frozen=True)
class Selection:
    """What one device carries. `private` are globs for names of skills."""

    rules: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    _memory: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def without(self, paths: Iterable[str]) -> Selection:
        """The same less these paths and all below them, whatever the rules say of them."""
        return Selection((*self.rules, *sorted(paths)), self.private)

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.rules or self.private)

    def carries(self, path: str) -> bool:
        """Whether the members of this path are members on that device."""
        if self.is_everything:
            return True
        known = self._memory.get(path)
        if known is None:
            if len(self._memory) >= _REMEMBERED:
                self._memory.clear()
            known = self._memory[path] = self.private_skill(path) is None and self._follows(path)
        return known

    def private_skill(self, path: str) -> str | None:
        """The private skill that this path belongs to."""
        match = _OF_SKILL.fullmatch(path) if self.private else None
        if match is None or not any(name_fits(glob, match[1]) for glob in self.private):
            return None
        return match[1]

    def _follows(self, path: str) -> bool:
        fitting = (rule for rule in reversed(self.rules) if fits(rule.removeprefix("!"), path))
        return next(fitting, "!").startswith("!")

    def rules_for(self, named: Collection[str]) -> list[str]:
        """What to tell a peer that has itself named these skills."""
        known = [name for name in sorted(named) if any(name_fits(glob, name) for glob in self.private)]
        return [*self.rules, *(f"**/skills/{name}" for name in known)]


EVERYTHING = Selection()


def as_told(rules: Iterable[str]) -> Selection:
    """What a peer carries by its own words; rules of a grammar that is not known here are passed over."""
    return _as_told(tuple(rules))


@lru_cache(maxsize=64)
def _as_told(rules: tuple[str, ...]) -> Selection:
    usable = tuple(rule for rule in rules[:MAX_RULES] if _is_rule(rule))
    return Selection(usable) if usable else EVERYTHING


def _is_rule(text: str) -> bool:
    try:
        require_glob(text.removeprefix("!"))
    except ValueError:
        return False
    return True


def fits(glob: str, path: str) -> bool:
    """Whether a glob fits a path or a directory above it."""
    return _of_paths(glob).match(f"{path}/") is not None


def name_fits(glob: str, name: str) -> bool:
    """Whether one part of a glob fits one name."""
    return _of_names(glob).fullmatch(name) is not None


@lru_cache(maxsize=_COMPILED)
def _of_paths(glob: str) -> re.Pattern[str]:
    """What begins a path of which each part ends with a slash."""
    fixed, *floating = f"{glob}/".split("**/")
    return re.compile(_parts(fixed) + "".join(f"(?>(?:[^/]*/)*?{_parts(each)})" for each in floating))


def _parts(glob: str) -> str:
    return "/".join(map(_name, glob.split("/")))


@lru_cache(maxsize=_COMPILED)
def _of_names(glob: str) -> re.Pattern[str]:
    return re.compile(_name(glob))


def _name(glob: str) -> str:
    """The leftmost place that fits what stands between two stars is kept, since whatever follows fits
    behind it if anywhere: never exponential.
    """
    first, *rest = (re.escape(each).replace(r"\?", "[^/]") for each in re.split(r"\*+", glob))
    if not rest:
        return first
    *between, last = rest
    return first + "".join(f"(?>[^/]*?{each})" for each in between) + f"[^/]*{last}"
