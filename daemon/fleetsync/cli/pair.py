"""`pair`: make two devices trust each other with a short code.

The conversation takes place in this process: its listener exists only while a code is offered, and
the running daemon is handed nothing but the result. Nothing begins unless that daemon runs.
"""

from __future__ import annotations

import socket
import sys
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from fleetsync.devices.identity import Identity
    from fleetsync.devices.pairing import Paired, Party
    from fleetsync.records.addresses import Address
    from fleetsync.wire.pairing import Offering

ANY_INTERFACE = ("::", "0.0.0.0")  # noqa: S104  (compared with, never bound here)
ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, 3849): a route to them leaves by the usual interface."""


@command("fleetsync pair\nfleetsync pair 7-orbit-falcon --at 192.0.2.7:40123")
@click.argument("code", required=False)
@click.option("--at", metavar="HOST:PORT", help="Where the code is offered, as the other device prints it.")
@click.option("--yes", is_flag=True, help="Do not ask whether both screens show the same words.")
@pass_session
def pair(session: Session, code: str | None, at: str | None, yes: bool) -> None:
    """Offer a pairing code, or take the CODE that another device shows.

    A code lives five minutes and allows one guess. Both screens then show the same four words.
    """
    here = session.control().get("/status")["device"]
    if code is not None:
        paired = _take(session, here, code, at)
    elif at is not None:
        raise click.UsageError("--at says where a CODE is offered: give the code too")
    else:
        paired = _offer(session, here)
    _accept(session, paired, yes)


# --- the conversation ------------------------------------------------------------------------------


def _take(session: Session, here: dict[str, Any], code: str, at: str | None) -> Paired:
    import anyio

    from fleetsync.devices.words import parse_code
    from fleetsync.records.addresses import parse_address
    from fleetsync.wire.pairing import join

    parse_code(code)  # a slip of the finger is told before anybody is called
    if at is None:
        raise click.UsageError("say where the code is offered: --at HOST:PORT, as the other device prints it")
    _, me = _party(session, here)
    return anyio.run(join, me, code, parse_address(at))


def _offer(session: Session, here: dict[str, Any]) -> Paired:
    import anyio

    async def offering() -> Paired:
        from fleetsync.wire.pairing import offer

        identity, me = _party(session, here)
        async with offer(identity, me, _pairing_address(session, here)) as offered:
            _show_offer(session, offered)
            return await offered.paired()

    try:
        return anyio.run(offering)
    except OSError as error:
        from fleetsync.errors import PairingFailed

        raise PairingFailed(
            f"no code can be offered: {error.strerror or error}",
            next_step="see `[pair] listen` in config.toml",
        ) from None


def _party(session: Session, here: dict[str, Any]) -> tuple[Identity, Party]:
    """This device as it presents itself."""
    from fleetsync.devices.identity import load_identity
    from fleetsync.devices.pairing import Party
    from fleetsync.devices.seal import signer
    from fleetsync.devices.trust import Fleet
    from fleetsync.errors import DaemonNotRunning
    from fleetsync.records.addresses import parse_address

    state_dir = session.state_path()
    identity = load_identity(state_dir)
    if identity is None:
        raise DaemonNotRunning(f"there is no identity in {state_dir}")
    fleet = Fleet.load(state_dir, identity)
    port = parse_address(here["listen"]).port
    sign = signer(identity.key())
    return identity, Party(identity.certificate, here["name"], port, sign, fleet.removals_between)


def _pairing_address(session: Session, here: dict[str, Any]) -> Address:
    """`[pair] listen`, else a free port beside the daemon's."""
    from fleetsync.records.addresses import Address, parse_address

    chosen = session.settings().config.pair.listen
    return parse_address(chosen) if chosen else Address(parse_address(here["listen"]).host, 0)


# --- what is shown and asked -------------------------------------------------------------------------


def _show_offer(session: Session, offered: Offering) -> None:
    from fleetsync.cli import output
    from fleetsync.records.addresses import Address
    from fleetsync.web.documents import time_text

    where = Address(shown_host(offered.addresses[0].host), offered.addresses[0].port)
    if session.json:
        expires = time_text(int(offered.expires_at * 1_000_000))
        output.emit({"code": offered.code, "expires_at": expires, "host": where.host, "port": where.port})
        return
    output.say("On the other device, within five minutes, type:")
    output.say()
    output.say("    " + click.style(f"fleetsync pair {offered.code} --at {where}", bold=True))
    output.say()


def shown_host(host: str) -> str:
    """The host by which others reach a listener on `host`: for all interfaces, the usual one's address."""
    if host not in ANY_INTERFACE:
        return host
    for family, elsewhere in ELSEWHERE.items():
        try:  # a system may be offline, or know nothing of a family
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))  # a datagram socket only looks up the route
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"


def _accept(session: Session, paired: Paired, yes: bool) -> None:
    """Let a person compare the words where there is one, then hand the pairing to the daemon."""
    from fleetsync.cli import output
    from fleetsync.errors import PairingFailed

    words = " ".join(paired.words)
    if not session.json:
        output.say(f"{output.clean(paired.name)} ({output.short_id(paired.device)}): {words}")
    if not yes and sys.stdin.isatty():
        question = f"Does the other screen show the words  {words}?"
        if not click.confirm(question, default=True, err=True):
            raise PairingFailed("the words differ, so nobody has been paired here")
    session.control().post("/adopt", _order(paired))
    if session.json:
        output.emit({"paired": {"id": paired.device, "name": paired.name, "words": list(paired.words)}})
    else:
        output.say("paired; see `fleetsync status`")


def _order(paired: Paired) -> dict[str, Any]:
    """The body of `POST /adopt` (`web.daemon.Paired`)."""
    return {
        "certificate": b64encode(paired.certificate).decode(),
        "name": paired.name,
        "addresses": list(paired.addresses),
        "records": [b64encode(record).decode() for record in paired.records],
    }
