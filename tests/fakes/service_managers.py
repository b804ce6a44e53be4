"""systemctl and launchctl as far as the installer uses them: enough state to be wrong about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleetsync.service.manager import Completed

OK = Completed(0, "", "")
NO = Completed(1, "", "")


class FakeSystemctl:
    """A user manager that loads units from one directory; also answers loginctl."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loaded: dict[str, str] = {}
        self.enabled: set[str] = set()
        self.running: dict[str, str] = {}
        self.linger = "no"
        self.start_code = 0
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str]) -> Completed:
        """Carry out one command."""
        self.calls.append(tuple(command))
        if command[0] == "loginctl":
            return Completed(0, f"{self.linger}\n", "")
        verb, *units = [word for word in command[2:] if not word.startswith("--")]
        return getattr(self, "_" + verb.replace("-", "_"))(*units)  # type: ignore[no-any-return]

    @property
    def verbs(self) -> list[str]:
        """What was asked of it that changes something."""
        verbs = [next(word for word in call[2:] if not word.startswith("--")) for call in self.calls]
        return [verb for verb in verbs if verb in ("enable", "start", "restart", "disable", "daemon-reload")]

    def _daemon_reload(self) -> Completed:
        self.loaded = {path.name: path.read_text() for path in self.directory.glob("*.service")}
        return OK

    def _enable(self, unit: str) -> Completed:
        if unit not in self.loaded:
            return Completed(1, "", f"Failed to enable unit: Unit file {unit} does not exist.")
        self.enabled.add(unit)
        return OK

    def _start(self, unit: str) -> Completed:
        if self.start_code:
            return Completed(self.start_code, "", f"Job for {unit} failed.")
        self.running.setdefault(unit, self.loaded[unit])
        return OK

    def _restart(self, unit: str) -> Completed:
        self.running.pop(unit, None)
        return self._start(unit)

    def _disable(self, unit: str) -> Completed:
        self.enabled.discard(unit)
        self.running.pop(unit, None)
        return OK

    def _reset_failed(self, unit: str) -> Completed:
        return NO

    def _is_enabled(self, unit: str) -> Completed:
        return OK if unit in self.enabled else NO

    def _is_active(self, unit: str) -> Completed:
        return OK if unit in self.running else NO


class FakeLaunchctl:
    """The domain of one graphical session; `busy` bootstraps fail as right after a bootout."""

    def __init__(self) -> None:
        self.loaded: dict[str, bytes] = {}
        self.disabled: set[str] = set()
        self.busy_after_bootout = 0
        self._busy = 0
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str]) -> Completed:
        """Carry out one command."""
        self.calls.append(tuple(command))
        return getattr(self, "_" + command[1].replace("-", "_"))(*command[2:])  # type: ignore[no-any-return]

    @property
    def verbs(self) -> list[str]:
        """What was asked of it that changes something."""
        return [call[1] for call in self.calls if call[1] in ("bootstrap", "bootout")]

    def _print(self, target: str) -> Completed:
        loaded = target.rpartition("/")[2] in self.loaded
        return (
            Completed(0, "\tstate = running\n", "")
            if loaded
            else Completed(113, "", "Could not find service")
        )

    def _print_disabled(self, domain: str) -> Completed:
        listed = "".join(f'\t\t"{label}" => disabled\n' for label in self.disabled)
        return Completed(0, f"disabled services = {{\n{listed}\t}}\n", "")

    def _enable(self, target: str) -> Completed:
        self.disabled.discard(target.rpartition("/")[2])
        return OK

    def _bootout(self, target: str) -> Completed:
        del self.loaded[target.rpartition("/")[2]]
        self._busy = self.busy_after_bootout
        return OK

    def _bootstrap(self, domain: str, path: str) -> Completed:
        label = Path(path).stem
        if label in self.loaded or self._busy:
            self._busy = max(0, self._busy - 1)
            return Completed(5, "", "Bootstrap failed: 5: Input/output error")
        self.loaded[label] = Path(path).read_bytes()
        return OK
