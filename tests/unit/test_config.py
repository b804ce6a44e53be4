"""config.py: where each setting comes from, and how a broken file is explained."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.config import AddressText, Config, Flags, Settings, decode, read
from fleetsync.errors import BrokenConfig

PERSON = {"HOME": "/home/u"}


def _load(
    flags: Flags | None = None, environ: dict[str, str] | None = None, platform: str = "linux"
) -> Settings:
    return Settings.load(flags or Flags(), PERSON | (environ or {}), platform)


# --- addresses -----------------------------------------------------------------------------------


# --- where things are ----------------------------------------------------------------------------


def test_default_places_on_linux() -> None:
    """Without any setting, Linux has the places of the XDG rules."""
    settings = _load()
    assert settings.home == Path("/home/u/.mur")
    assert settings.state_dir == Path("/home/u/.local/state/fleetsync")
    assert settings.config_file == Path("/home/u/.config/fleetsync/config.toml")
    assert settings.config == Config()


def test_default_places_on_macos() -> None:
    """On macOS state and config share one folder of the library."""
    settings = _load(platform="darwin")
    assert settings.state_dir == Path("/home/u/Library/Application Support/fleetsync")
    assert settings.config_file == settings.state_dir / "config.toml"


def test_macos_config_follows_a_chosen_state_directory() -> None:
    """On macOS the config lies in the state directory, wherever that is."""
    assert _load(environ={"FLEETSYNC_STATE_DIR": "/s"}, platform="darwin").config_file == Path(
        "/s/config.toml"
    )


def test_xdg_directories_are_honoured_if_absolute() -> None:
    """XDG_* move the places; a relative one is ignored, as its rules say."""
    environ = {"XDG_STATE_HOME": "/x/state", "XDG_CONFIG_HOME": "relative"}
    settings = _load(environ=environ)
    assert settings.state_dir == Path("/x/state/fleetsync")
    assert settings.config_file == Path("/home/u/.config/fleetsync/config.toml")


def test_empty_variables_are_as_good_as_unset() -> None:
    """`MUR_HOME=` in a unit or shell means the default, never the working directory."""
    environ = {"MUR_HOME": "", "FLEETSYNC_STATE_DIR": "", "FLEETSYNC_CONFIG": "", "FLEETSYNC_LISTEN": ""}
    assert _load(environ=environ) == _load()


def test_flags_win_over_environment() -> None:
    """A flag is stronger than the variable for the same setting, and both than the default."""
    environ = {"MUR_HOME": "/e/home", "FLEETSYNC_STATE_DIR": "/e/state", "FLEETSYNC_LISTEN": "e:1"}
    by_environment = _load(environ=environ)
    by_flag = _load(Flags(home="/f/home", state_dir="/f/state", listen="f:1"), environ)
    assert (by_environment.home, by_environment.state_dir) == (Path("/e/home"), Path("/e/state"))
    assert (by_flag.home, by_flag.state_dir) == (Path("/f/home"), Path("/f/state"))
    assert (by_environment.config.device.listen, by_flag.config.device.listen) == ("e:1", "f:1")


def test_environment_wins_over_file(tmp_path: Path) -> None:
    """The file is weaker than the environment and stronger than the default."""
    file = tmp_path / "c.toml"
    file.write_text('[device]\nlisten = "file:1"\n[log]\nlevel = "warning"\n')
    environ = {"FLEETSYNC_CONFIG": str(file)}
    assert _load(environ=environ).config.device.listen == "file:1"
    assert _load(environ=environ | {"FLEETSYNC_LISTEN": "env:1"}).config.device.listen == "env:1"
    assert _load(Flags(log_level="debug"), environ).config.log.level == "debug"
    assert _load(environ=environ).config.log.level == "warning"


def test_relative_paths_become_absolute_and_keep_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is made absolute but never resolved: a home behind a link is named as the person named it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert _load(Flags(home="link")).home == tmp_path / "link"


def test_absent_config_means_defaults_unless_a_flag_names_it() -> None:
    """No file is no fault; a file that was asked for by name must be there."""
    assert _load(environ={"FLEETSYNC_CONFIG": "/nowhere/c.toml"}).config == Config()
    with pytest.raises(BrokenConfig, match=r"/nowhere/c\.toml: there is no such file"):
        _load(Flags(config="/nowhere/c.toml"))


def test_a_place_that_cannot_be_is_explained() -> None:
    """The home of nobody, and a name that no file can have, are the person's slips and no bugs."""
    with pytest.raises(BrokenConfig, match=r"~nobody-here/state: there is no such user"):
        _load(Flags(state_dir="~nobody-here/state"))
    with pytest.raises(BrokenConfig, match=r"x: File name too long"):
        _load(Flags(config=f"/{'x' * 300}"))


def test_bad_flags_and_variables_are_named() -> None:
    """What is wrong outside the file is named by its flag or variable."""
    with pytest.raises(BrokenConfig, match="--listen: 'x' is not HOST:PORT"):
        _load(Flags(listen="x"))
    with pytest.raises(BrokenConfig, match="FLEETSYNC_LISTEN: 'x' is not HOST:PORT"):
        _load(environ={"FLEETSYNC_LISTEN": "x"})
    with pytest.raises(BrokenConfig, match="--log-level: 'loud'"):
        _load(Flags(log_level="loud"))


# --- the file ------------------------------------------------------------------------------------


def test_peers_have_addresses() -> None:
    """`[peers]` maps a device to addresses that are already checked."""
    assert decode('[peers]\ndesk = ["d:1", "[::1]:2"]', "c").peers == {
        "desk": [AddressText("d:1"), AddressText("[::1]:2")]
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[devic]\nname = 1", "c, line 1, devic: there is no such key"),
        ('[device]\n# nme\nnme = "x"', "c, line 3, device.nme: there is no such key"),
        ("[sync]\npush = 1\nsweep = 9e9", "c, line 3, sync.sweep: expected float <= 3600.0"),
        ('[log]\n\nlevel = "loud"', "c, line 3, log.level: unknown value 'loud'"),
        ('log.level = "loud"', "c, line 1, log.level: unknown value 'loud'"),
        ('device = { listen = "x" }', "c, line 1, device.listen: 'x' is not HOST:PORT"),
        ('[device]\nname = "l"\nlisten = "x"', "c, line 3, device.listen: 'x' is not HOST:PORT"),
        ("[history]\nkeep = 1.5", "c, line 2, history.keep: expected int, got float"),
        ('[pair]\nlisten = "q"', "c, line 2, pair.listen: 'q' is not HOST:PORT"),
        (
            '[sync]\nexclude = [\n  "a/b",\n  "a//b",\n]',
            "c, line 4, sync.exclude: 'a//b' is not a glob: it is relative",
        ),
        (
            '[sync]\n\ninclude = ["[ab]"]',
            "c, line 3, sync.include: '[ab]' is not a glob: '[' has no meaning in it",
        ),
        ('[sync]\nprivate = ["A b"]', "c, line 2, sync.private: 'A b' is not a skill's name; * and ? may"),
        (
            '[sync]\ndatasets = ["skill"]',
            "c, line 2, sync.datasets: 'skill' is not a dataset: there are skill-",
        ),
        ("[sync]\ndatasets = []", "c, line 2, sync.datasets: expected array of length >= 1"),
        ("[sync]\nexclude = [3]", "c, line 2, sync.exclude: '3' is not text"),
        ('[peers]\nhat = ["h:1"]\ndesk = [\n  "d:1",\n  "h",\n]', "c, line 5, peers: 'h' is not HOST:PORT"),
        ("[log\n", "c, line 1: Expected ']' at the end of a table declaration"),
        ("[log]\n\nlevel = ", "c, line 3: Invalid value"),
        ('[log]\nlevel = "info"\nlevel = "info"', "c, line 3: Cannot overwrite a value"),
    ],
)
def test_a_broken_file_is_explained(text: str, told: str) -> None:
    """Every fault names file, line and key."""
    with pytest.raises(BrokenConfig) as caught:
        decode(text, "c")
    assert caught.value.message.startswith(told)


def test_what_a_device_carries() -> None:
    """Of the chosen datasets what is included and not excluded; a private skill whatever is included."""
    assert Config().sync.selection().is_everything
    text = """[sync]
    datasets = ["skill-*", "channel-manifest"]
    include = ["skills/a*", "channels"]
    exclude = ["skills/ab"]
    private = ["ax"]
    """
    chosen = decode(text, "c").sync.selection()
    assert chosen.carries("skills/aa/events.jsonl")
    assert chosen.carries("channels/main/channel.yaml")
    for path in (
        "channels/main/events.jsonl",  # of another dataset
        "skills/bb/events.jsonl",  # not included
        "skills/ab/events.jsonl",  # excluded
        "skills/ax/events.jsonl",  # private
        "agents/bob/skills/aa/skill.yaml",  # of another dataset
    ):
        assert not chosen.carries(path)


def test_what_is_chosen_can_be_told_and_kept() -> None:
    """Rules and private names are plain text, as the wire and the journal take them."""
    chosen = decode('[sync]\ninclude = ["skills"]\nexclude = ["a"]\nprivate = ["b"]', "c").sync.selection()
    assert {type(each) for each in (*chosen.rules, *chosen.private)} == {str}


def test_what_devices_publish_is_left_out_only_by_name() -> None:
    """Keys of agents are no files of home: whoever chooses channels alone can still verify their lines."""
    keys = f"devices/{'a' * 52}/agent-keys"
    assert (
        decode('[sync]\ninclude = ["channels"]\ndatasets = ["channel-*"]', "c").sync.selection().carries(keys)
    )
    assert not decode('[sync]\nexclude = ["devices"]', "c").sync.selection().carries(keys)


def test_text_that_is_not_utf8_is_explained(tmp_path: Path) -> None:
    """A file in another encoding is refused with the line."""
    file = tmp_path / "c.toml"
    file.write_bytes(b'[device]\nname = "caf\xe9"\n')
    with pytest.raises(BrokenConfig, match=r"c\.toml, line 2: this is not UTF-8 text"):
        read(file)


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    """A directory in the place of the file is said, not stumbled over."""
    with pytest.raises(BrokenConfig, match="Is a directory"):
        read(tmp_path)


@given(
    st.text(st.characters(codec="utf-8"), max_size=60)
    | st.sampled_from(["[sync]", "push", "[[peers]]"]).map(str)
)
def test_any_text_is_a_config_or_a_broken_config(text: str) -> None:
    """No text makes the reader fail in any other way."""
    with contextlib.suppress(BrokenConfig):
        assert isinstance(decode(text, "c"), Config)
