"""An unattended audio recorder: microphone → Opus → outbox → recordings API.

Data flows one way, left to right, and a package imports only what stands to its left:

    audio/          recording/            outbox/            sync/
    ear → opus → ogg  recorder, triggers →  store, files   →  delivery, syncer, api

``host/`` (what the machine can tell) and ``status/board`` stand beneath all of them; ``daemon`` builds the
parts and hands each what it needs; ``cli/`` is the face; ``sandbox/`` is a local API for trying and testing.

Types and threads: msgspec looks into a ``Struct`` when it is first decoded, and two threads that make it do so at once
crash the process (0.22 and before). So every ``Struct`` that is read has its ``Decoder`` beside it, made at import;
``decode(…, type=…)`` is not used.

Importing this package, or ``agent.audio``, imports nothing else: the capture process is a process that must stay small.
"""

__version__ = "0.1.0"
