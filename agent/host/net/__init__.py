"""How the machine is connected: its routes, what leads to the network, and hearing that it has changed."""
