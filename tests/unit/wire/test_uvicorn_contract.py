"""What we take from uvicorn is no documented API: these are the parts of it that the listener relies on."""

from __future__ import annotations

import inspect

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from fleetsync.wire.listener import MAX_HEADER_BYTES, Limits, _config, _Connection
from fleetsync.wire.server import application
from tests.fakes.peer import FakePeer


def config() -> uvicorn.Config:
    """The configuration as the listener makes it."""
    return _config(application(FakePeer), Limits(idle=12.5))


def test_the_protocol_is_made_from_a_configuration_a_state_and_the_state_of_the_application():
    """Constructor: (config, server_state, app_state), nothing else needed."""
    parameters = list(inspect.signature(H11Protocol.__init__).parameters.values())[1:]
    assert [p.name for p in parameters[:3]] == ["config", "server_state", "app_state"]
    assert all(p.default is not inspect.Parameter.empty for p in parameters[3:])


async def test_the_attributes_that_the_listener_reads_and_sets_exist():
    """`app_state`, `cycle`, `transport` and `loop` on a connection; `tasks` on the state."""
    protocol = _Connection(config(), ServerState(), None)  # type: ignore[arg-type]
    assert vars(protocol)["cycle"] is None
    assert protocol.app_state == {}
    assert protocol.timeout_keep_alive == 12.5
    assert protocol.conn._max_incomplete_event_size == MAX_HEADER_BYTES
    assert hasattr(protocol, "transport")
    assert hasattr(protocol, "loop")
    assert ServerState().tasks == set()
    assert "response_complete" in inspect.getsource(RequestResponseCycle.__init__)
    for method in ("connection_made", "connection_lost", "data_received", "shutdown"):
        assert callable(getattr(H11Protocol, method))
    assert callable(H11Protocol._unset_keepalive_if_required)


def test_the_application_is_called_as_it_is():
    """No wrapper of uvicorn's stands between the connection and the application: no proxy headers."""
    assert type(config().loaded_app).__module__.startswith("starlette")
    assert config().encoded_headers == []
