"""What neither process may load of the other's."""

NOT_IN_THE_RECORDER = {
    "httpx",
    "sqlite3",
    "sqlite_utils",
    "ssl",
    "agent.sync",
    "agent.index",
    "agent.deliverer",
}
