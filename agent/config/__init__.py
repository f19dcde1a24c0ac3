"""The settings: each key's type, range and default (``schema``), read from TOML (``loader``), checked (``values``)."""
