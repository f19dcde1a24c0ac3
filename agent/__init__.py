"""An unattended audio recorder: microphone → Opus → outbox → recordings API.

Data flows one way, left to right, and a package imports only what stands to its left:

    capture/, audio/    recording/             outbox/, index/       sync/, api/
    opus → ogg        →  sessions, segments  →  files, their index  →  delivery

``host/`` (what the machine can tell) and ``status/board`` stand beneath all of them. ``recorder/`` is the process that
hears, ``deliverer/`` the one that talks; each has a ``wiring`` that builds its parts. ``cli/`` is the face,
``facade/`` asks both processes for it; ``sandbox/`` is a local API for trying and testing.

Types and threads: msgspec looks into a ``Struct`` when it is first decoded, and two threads that make it do so at once
crash the process (0.22 and before). So every ``Struct`` that is read has its ``Decoder`` beside it, made at import;
``decode(…, type=…)`` is not used.

Importing this package, or ``agent.capture``, imports nothing else: the capture process must stay small.
"""

__version__ = "0.1.0"
