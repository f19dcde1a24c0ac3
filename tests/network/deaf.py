"""The agent without its ear for the network: what it would be if nothing told it that the link is up."""

import threading
from unittest.mock import patch

from agent.cli import main
from agent.host.netlink import NetworkWatch


def _hear_nothing(_watch: NetworkWatch) -> None:
    threading.Event().wait()


with patch.object(NetworkWatch, "run", _hear_nothing):
    main()
