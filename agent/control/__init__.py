"""The local sockets: how people and the other process ask a process that runs; one JSON object a line."""
