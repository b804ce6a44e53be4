"""`service`: the daemon as a service of this user, started at login and kept running."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import click

from fleetsync.cli.command import Group, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from fleetsync.service.manager import Launch, Manager, ServiceState


@click.group(cls=Group, example="fleetsync service install")
def service() -> None:
    """Run the daemon as a service of this user (systemd or launchd)."""


@service.command(example="fleetsync service install")
@pass_session
def install(session: Session) -> None:
    """Install, enable and start the service; again = bring it up to date.

    MUR_HOME, FLEETSYNC_STATE_DIR, FLEETSYNC_CONFIG and FLEETSYNC_LISTEN are kept for it as they are
    now.
    """
    from fleetsync.cli import output

    managed = service_manager(session)
    _show(session, managed.install(service_launch(session)))
    advice = managed.advice()
    if advice is not None and not session.json:
        output.remark(f"to keep it running while you are logged out: {advice}")


@service.command(example="fleetsync service uninstall")
@pass_session
def uninstall(session: Session) -> None:
    """Stop and remove the service; the state directory and home stay."""
    _show(session, service_manager(session).uninstall())


@service.command(example="fleetsync service status --json")
@pass_session
def status(session: Session) -> None:
    """Show whether the service is installed, enabled and active."""
    _show(session, service_manager(session).state())


def service_manager(session: Session) -> Manager:
    """The service manager of this system. Raises `ServiceFailed` if there is none."""
    from fleetsync.service.installer import manager

    return manager(sys.platform, session.environ)


def service_launch(session: Session) -> Launch:
    """What the service should start: this command, with the settings given now. Raises `ServiceFailed`."""
    from fleetsync.service.installer import launch

    flags = {
        "MUR_HOME": session.home,
        "FLEETSYNC_STATE_DIR": session.state_dir,
        "FLEETSYNC_CONFIG": session.config,
    }
    said = {name: os.path.expanduser(value) for name, value in flags.items() if value}  # noqa: PTH111  (stays text)
    return launch(sys.argv[0], {**session.environ, **said}, shutil.which)


def _show(session: Session, state: ServiceState) -> None:
    from fleetsync.cli import output

    document = {name: getattr(state, name) for name in state.__struct_fields__}
    if session.json:
        output.emit(document)
        return
    words = [name for name in ("installed", "enabled", "active") if document[name]]
    output.say(f"{state.manager}: {', '.join(words) or 'not installed'}")
    output.say(f"unit: {state.unit}")
