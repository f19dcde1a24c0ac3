"""The agent, both of its processes, deaf to changes of the network: as if nothing told it that the link is up."""

import threading
from unittest.mock import patch

from agent.host.net.netlink import NetworkWatch


def _hear_nothing(_watch: NetworkWatch) -> None:
    threading.Event().wait()


patch.object(NetworkWatch, "run", _hear_nothing).start()
