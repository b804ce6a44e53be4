"""One table between errors and HTTP statuses, read in both directions."""

from __future__ import annotations

import pytest

from fleetsync import errors
from fleetsync.errors import (
    FleetsyncError,
    HomeMissing,
    IllegalName,
    LocalError,
    PeerError,
    PeerInTrouble,
    StorageFailed,
    TooLarge,
)
from fleetsync.wire.messages import Refusal
from fleetsync.wire.statuses import STATUSES, error_of, status_of

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FleetsyncError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_every_error_has_a_status_that_is_no_success(kind):
    """Whatever a request may raise can be answered."""
    assert 400 <= status_of(kind("x")) <= 507


def test_the_nearest_class_decides():
    """A class without a row of its own is answered like its family."""
    assert status_of(StorageFailed("x")) == 507
    assert status_of(HomeMissing("x")) == STATUSES[LocalError]
    assert status_of(IllegalName("x")) == 422


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_what_a_peer_refuses_is_never_this_device_s_fault(kind):
    """Every code, our own local ones included, comes back as an error of the peer."""
    found = error_of(Refusal(kind.code, "why"), "laptop")
    assert isinstance(found, PeerError)
    assert str(found) == "laptop answers: why"


def test_codes_come_back_as_their_class_and_the_rest_as_trouble():
    """A peer's verdict on the exchange keeps its class; its own trouble, known or not, is trouble."""
    assert type(error_of(Refusal("too-large", ""), "p")) is TooLarge
    assert type(error_of(Refusal("storage-failed", ""), "p")) is PeerInTrouble
    assert type(error_of(Refusal("invented-later", ""), "p")) is PeerInTrouble
