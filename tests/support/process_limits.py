"""What neither process may load of the other's."""

NOT_OF_THE_PAGE = {"jinja2", "starlette", "uvicorn", "agent.web", "agent.report"}
"""What the page needs is loaded by neither."""
NOT_IN_THE_RECORDER = NOT_OF_THE_PAGE | {
    "httpx",
    "sqlite3",
    "sqlite_utils",
    "ssl",
    "agent.sync",
    "agent.index",
    "agent.deliverer",
}
