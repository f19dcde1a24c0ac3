"""The settings: every key with its type, range and default (``schema``), read from TOML (``loader``), checked (``values``)."""
