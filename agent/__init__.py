"""An unattended audio recorder: microphone → Opus → files → recordings API.

    capture/  audio/        recording/             outbox/   index/         api/  sync/
    sound → Opus → Ogg   →  sessions, segments  →  files  →  their index →  delivery

``recorder/`` is the process that hears: everything from the microphone to a finished file, with ``panel/`` (LED and
button), ``gaps/`` and ``timing/``. ``deliverer/`` is the one that talks: the index, the API, ``token/``, ``publish/``.
They share a state directory and nothing else; each has a ``wiring`` that builds its parts, out of one ``Environment``.
``process/`` and ``control/`` are what both are made of, ``status/`` is what is true now, ``host/`` what the machine
tells. ``cli/`` and ``doctor/`` ask both processes through ``facade/``; ``sandbox/`` is a local API for trying and
testing. A package imports only what has a lower floor (``tests/unit/test_house.py``). The words that are used are in
the glossary of ``docs/architecture.md``.

Types and threads: msgspec looks into a ``Struct`` when it is first decoded, and two threads that make it do so at once
crash the process (0.22 and before). So every ``Struct`` that is read has its ``Decoder`` beside it, made at import;
``decode(…, type=…)`` is not used.

Importing this package, or ``agent.capture``, imports nothing else: the capture process must stay small.
"""

__version__ = "0.1.0"
