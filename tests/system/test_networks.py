"""Two hosts with a bad network between them: the short form of `python -m tests.campaign.networks`.

The cases that take longer (a rate, a delay, silence of minutes) run in the long form alone.
"""

from __future__ import annotations

import pytest

from tests.campaign import networks
from tests.system import hosts
from tests.system.requirements import require

CASES = (
    "loss 20 %",
    "300 ms round trip",
    "MTU 576",
    "only one side can call, the other is not answered",
    "half-open and killed",
    "one address changes",
    "both addresses change",
)


@pytest.mark.parametrize("case", CASES)
def test_they_converge_through_any_network(case: str) -> None:
    """Whatever it drops, delays, cuts or forgets: both have everything once, counted once, and say so."""
    require(hosts.missing())
    for figure in networks.run(case, networks.SHORT):
        assert figure.seconds < networks.PATIENCE
