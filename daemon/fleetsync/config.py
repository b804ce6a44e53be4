"""Settings: what a person chose, by flag, environment or file, and the defaults under them.

A pure reading of text into frozen values; the one file it opens is the config file, and nobody below
this floor imports it: `app/` hands each part the values it needs. It refuses what it does not know:
an unknown key, a wrong type or a value out of bounds raises `BrokenConfig` naming file, line and key.
Each setting is found in this order: flag, environment, file, default. Durations are in seconds. Every
key stands with its default in config.example.toml. Implements DESIGN §10–11, docs/cli.md "Defaults".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec

from fleetsync import datasets
from fleetsync.errors import BrokenConfig, UserError
from fleetsync.records.addresses import parse_address
from fleetsync.selection import Selection, name_fits, require_glob, require_skill_glob

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


class AddressText(str):
    """What `parse_address` takes, checked when it is made (raises `ValueError`)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """The address in this text."""
        try:
            return super().__new__(cls, str(parse_address(text)))
        except UserError as error:
            raise ValueError(error.message) from error


class OptionalAddressText(AddressText):
    """An address, or empty text where none is chosen."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """The address in this text, which may be empty."""
        return super().__new__(cls, text) if text else str.__new__(cls)


class Glob(str):
    """A glob for paths under home, checked when it is made (raises `ValueError`)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """The glob in this text."""
        return super().__new__(cls, require_glob(text))


class SkillGlob(str):
    """The name of a skill, or a glob for some, checked when it is made (raises `ValueError`)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """The name in this text."""
        return super().__new__(cls, require_skill_glob(text))


class DatasetGlob(str):
    """The name of a dataset, or a glob for some; raises `ValueError` if no dataset is called so."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """The name in this text."""
        names = [row.name for row in datasets.DATASETS]
        if not any(name_fits(text, name) for name in names):
            raise ValueError(f"{text[:80]!r} is not a dataset: there are {', '.join(names)}")
        return super().__new__(cls, text)


# --- the file: one class per section -------------------------------------------------------------


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file in which every key is known."""


class Device(Section, frozen=True):
    """`[device]`: how this device appears to others."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""  # empty: the short host name
    listen: AddressText = AddressText("[::]:8473")


class Pair(Section, frozen=True):
    """`[pair]`: where a code is taken while one is offered."""

    listen: OptionalAddressText = OptionalAddressText("")  # empty: the host of [device] listen, a free port


class Log(Section, frozen=True):
    """`[log]`: what the daemon says."""

    level: LogLevel = "info"
    format: LogFormat = "text"
    file: str = ""  # empty: stderr; else a file that the daemon rotates


class Sync(Section, frozen=True):
    """`[sync]`: how soon things happen, in seconds, and what this device carries."""

    push: Annotated[float, msgspec.Meta(ge=0.01, le=60)] = 0.25
    sweep: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60.0
    exchange: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 300.0
    stale: Annotated[float, msgspec.Meta(ge=60, le=31_536_000)] = 86_400.0
    datasets: Annotated[tuple[DatasetGlob, ...], msgspec.Meta(min_length=1, max_length=100)] = (
        DatasetGlob("*"),
    )
    include: Annotated[tuple[Glob, ...], msgspec.Meta(min_length=1, max_length=100)] = (Glob("**"),)
    exclude: Annotated[tuple[Glob, ...], msgspec.Meta(max_length=100)] = ()
    private: Annotated[tuple[SkillGlob, ...], msgspec.Meta(max_length=1000)] = ()

    def selection(self) -> Selection:
        """What this device carries: of the chosen datasets what is included and not excluded. What
        devices publish of themselves is no file of home: it is left out only if it is excluded.
        """
        included = [] if "**" in self.include else ["**", *(f"!{glob}" for glob in self.include)]
        included += [f"!{row.glob}" for row in datasets.DATASETS if row.published and included]
        files = [row for row in datasets.DATASETS if not row.published]
        left_out = [row.glob for row in files if not self._chosen(row.name)]
        rules = (*included, *left_out, *self.exclude)
        return Selection(tuple(map(str, rules)), tuple(map(str, self.private)))  # plain, to be encoded

    def _chosen(self, dataset: str) -> bool:
        return any(name_fits(glob, dataset) for glob in self.datasets)


class Channels(Section, frozen=True):
    """`[channels]`: whose lines are written, and how mur hears of them."""

    require_signatures: bool = False
    reindex: bool = True
    mur: Annotated[str, msgspec.Meta(min_length=1)] = "mur"  # on the daemon's PATH, or a path


class Clock(Section, frozen=True):
    """`[clock]`: how far ahead a stamp may be before it is held, in seconds."""

    max_skew: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 600.0


class Limits(Section, frozen=True):
    """`[limits]`: what one peer may bring in an hour before a person is asked."""

    items: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)] = 10_000_000
    bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)] = 8 << 30


class History(Section, frozen=True):
    """`[history]`: a version goes when it is older than `days` and `keep` newer ones of its path exist."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 20
    days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 90


class Store(Section, frozen=True):
    """`[store]`: where the audit of runs and the index of experience are."""

    # empty: files in the state directory
    url: Annotated[str, msgspec.Meta(pattern=r"^(postgres(ql)?://.*)?$")] = ""


class Audit(Section, frozen=True):
    """`[audit]`: a run goes when it is older than `days` or `keep` newer ones exist."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = 100_000
    days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 90


class Experience(Section, frozen=True):
    """`[experience]`: what the daemon writes into the experience ledger."""

    record_sync: bool = False  # outcomes of rounds, budgets, changes of trust


class Config(Section, frozen=True):
    """The whole file. `peers` maps a device id (or the name it has here) to addresses to try first."""

    device: Device = Device()
    pair: Pair = Pair()
    log: Log = Log()
    sync: Sync = Sync()
    channels: Channels = Channels()
    clock: Clock = Clock()
    history: History = History()
    limits: Limits = Limits()
    store: Store = Store()
    experience: Experience = Experience()
    audit: Audit = Audit()
    peers: dict[str, list[AddressText]] = {}


# --- reading it ------------------------------------------------------------------------------------


def decode(text: str, name: str) -> Config:
    """The config in this TOML text; raises `BrokenConfig` that begins with `name`, line and key."""
    try:
        return msgspec.toml.decode(text, type=Config, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        raise BrokenConfig(_explain(text, name, str(error))) from error
    except msgspec.DecodeError as error:
        what, line = _split(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        raise BrokenConfig(f"{name}, line {line or text.count(chr(10)) + 1}: {what}") from error


def read(path: Path, *, required: bool = False) -> Config:
    """The config in this file, all defaults if there is none and none is required; raises `BrokenConfig`."""
    try:
        return decode(path.read_bytes().decode(), str(path))
    except FileNotFoundError as error:
        if required:
            raise BrokenConfig(f"{path}: there is no such file") from error
        return Config()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BrokenConfig(f"{path}, line {line}: this is not UTF-8 text") from error
    except OSError as error:
        raise BrokenConfig(f"{path}: {error.strerror}") from error


def _from_text(kind: type, value: Any) -> Any:
    if isinstance(value, str) and issubclass(kind, (AddressText, Glob, SkillGlob, DatasetGlob)):
        return kind(value)
    raise ValueError(f"{str(value)[:80]!r} is not text")


def _explain(text: str, name: str, message: str) -> str:
    """`FILE, line N, SECTION.KEY: what is wrong`, from msgspec's message with its `$.path`."""
    what, where = _split(r"(.*?) - at `(?:key in )?\$\.?(.*)`", message)
    where = re.sub(r"\[.*?\]", "", where)
    if unknown := re.search(r"unknown field `(.*)`", what):
        where, what = f"{where}.{unknown[1]}".strip("."), "there is no such key"
    what = what.replace("Invalid enum value", "unknown value")
    line = find_line(text, tuple(where.split(".")), _quoted(what))
    place = f"{name}, line {line}" if line else name
    return f"{place}, {where}: {what[:1].lower()}{what[1:]}".replace("`", "")


def _split(pattern: str, message: str) -> tuple[str, str]:
    match = re.fullmatch(pattern, message, re.DOTALL)
    return (match[1], match[2] or "") if match else (message, "")


def _quoted(message: str) -> str:
    """The value that a message of `AddressText` or a glob quotes: it finds the line inside a list."""
    match = re.match(r"'(.*?)' is not ", message)
    return match[1] if match else ""


_HEADER = re.compile(r"\s*\[+\s*([^\]]*?)\s*\]+")
_KEY = re.compile(r"\s*([\w.\-\"' ]+?)\s*=")


def find_line(text: str, path: tuple[str, ...], value: str = "") -> int | None:
    """The 1-based line on which the key at this path is set, else where its table begins, else None.

    With a `value`, a line inside the table that holds it comes first.
    """
    table: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    fallback, found = None, here
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            here = table = _parts(header[1])
        elif key:
            here = table + _parts(key[1])
        if here == path and not value:
            return number
        if value and any(f"{q}{value}{q}" in line for q in "\"'") and here[: len(path)] == path:
            return number
        if here == path[: len(here)] and len(here) > len(found):
            fallback, found = number, here
    return fallback


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


# --- settings: the file with flags and environment on top ------------------------------------------


class Flags(msgspec.Struct, frozen=True):
    """What was said on the command line; None where nothing was."""

    home: str | None = None
    state_dir: str | None = None
    config: str | None = None
    listen: str | None = None
    log_level: str | None = None
    log_file: str | None = None


class Settings(msgspec.Struct, frozen=True):
    """Where everything is, and the config with flags and environment already applied."""

    home: Path
    state_dir: Path
    config_file: Path
    config: Config

    @classmethod
    def load(cls, flags: Flags, environ: Mapping[str, str], platform: str) -> Settings:
        """The settings of this process; raises `BrokenConfig`.

        `platform` is `sys.platform`. A config file that a flag names must exist; elsewhere its
        absence means defaults. Paths come back absolute, symlinks unresolved.
        """
        state_dir = state_directory(flags, environ, platform)
        config_file = config_path(flags, environ, platform)
        return cls(
            home=home_directory(flags, environ),
            state_dir=state_dir,
            config_file=config_file,
            config=_override(read(config_file, required=bool(flags.config)), flags, environ),
        )


def home_directory(flags: Flags, environ: Mapping[str, str]) -> Path:
    """The tree that is synced: flag, `MUR_HOME`, `~/.mur`."""
    chosen = flags.home or environ.get("MUR_HOME")
    return _absolute(chosen) if chosen else _user_home(environ) / ".mur"


def state_directory(flags: Flags, environ: Mapping[str, str], platform: str) -> Path:
    """Where this device keeps its state: flag, `FLEETSYNC_STATE_DIR`, the platform's place for it."""
    if chosen := flags.state_dir or environ.get("FLEETSYNC_STATE_DIR"):
        return _absolute(chosen)
    if platform == "darwin":
        return _user_home(environ) / "Library/Application Support/fleetsync"
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "fleetsync"


def config_path(flags: Flags, environ: Mapping[str, str], platform: str) -> Path:
    """The config file: flag, `FLEETSYNC_CONFIG`, the platform's place for it."""
    if chosen := flags.config or environ.get("FLEETSYNC_CONFIG"):
        return _absolute(chosen)
    if platform == "darwin":
        return state_directory(flags, environ, platform) / "config.toml"
    return _xdg(environ, "XDG_CONFIG_HOME", ".config") / "fleetsync/config.toml"


def _absolute(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~name
        raise BrokenConfig(f"{text}: there is no such user") from error


def _user_home(environ: Mapping[str, str]) -> Path:
    return _absolute(environ.get("HOME") or "~")


def _xdg(environ: Mapping[str, str], name: str, default: str) -> Path:
    """The directory that `name` holds; the XDG rules ignore one that is not absolute."""
    chosen = Path(environ.get(name, ""))
    return chosen if chosen.is_absolute() else _user_home(environ) / default


def _override(config: Config, flags: Flags, environ: Mapping[str, str]) -> Config:
    """The config with what flags and environment say instead of the file."""
    replace = msgspec.structs.replace
    if flags.listen:
        config = replace(config, device=replace(config.device, listen=_listen("--listen", flags.listen)))
    elif said := environ.get("FLEETSYNC_LISTEN"):
        config = replace(config, device=replace(config.device, listen=_listen("FLEETSYNC_LISTEN", said)))
    level, file = flags.log_level or config.log.level, flags.log_file or config.log.file
    try:
        log = msgspec.convert({**msgspec.structs.asdict(config.log), "level": level, "file": file}, Log)
    except msgspec.ValidationError as error:
        raise BrokenConfig(f"--log-level: {level!r} is not debug, info, warning or error") from error
    return replace(config, log=log)


def _listen(source: str, text: str) -> AddressText:
    try:
        return AddressText(text)
    except ValueError as error:
        raise BrokenConfig(f"{source}: {error}") from error
