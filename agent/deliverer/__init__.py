"""The process that talks: index, reconcile, retention → API, storage, heartbeat, remote commands, hooks, metrics.

It has no microphone: neither PortAudio nor opuslib is loaded here (the repair of Ogg files reads pages, not sound).

Who writes what
    deliverer   ``sent/``, ``damaged/``, ``outbox.db``, ``gaps-delivery.jsonl`` (what was deleted here; no part of the
                sum of gaps), ``days-delivery.jsonl`` (a line a day), ``boots.json``, ``clock.json``, ``binding``, the
                folder ``token/`` (device token, which binding it belongs to, a pending refresh), ``commands.json``,
                ``data-usage.json``; every ``.part`` file that nobody has locked; sidecars once they have their name;
                in memory ``delivery.sock``, ``arrivals.sock``, ``delivery.json``; the figures for Prometheus.
    The recorder writes all else (``agent.recorder``). Of what it writes, this process reads ``recorder-status.json``,
    ``marks.json`` (of files it repairs), ``gaps.jsonl``, and the finished files.

Invariants
    D1  Every finished file is in the index, or will be adopted: the files are the truth, the index can be rebuilt.
    D2  Whoever sends, moves, prunes or drops a recording holds the lock of its audio file, taken without waiting, to
        the end. A ``.part`` file is touched only under its lock.
    D3  What has vanished from ``sent/`` was pruned by the recorder, from ``outbox/`` dropped: the row goes, and
        nothing is written. A sidecar alone is the rest of it when it says that it was delivered, or when a gap log
        names it by now; otherwise its audio is missing.
    D4  ``binding`` is written before the first call with a token of another binding, and never taken away.

Procedures
    Adopt   sidecar without a row → row (held when it is another owner's). Heard by datagram, looked for every 5 s;
            one that a recorder which died has left under its temporary name beside its audio takes its own first.
    Repair  a ``.part`` file that nobody has locked: its sidecar is in ``outbox/`` under its temporary or own name →
            finish its Finish; pages of sound → cut after the last whole one, EOS, ``recovered``, Finish; no page of
            sound → it is no recording, and goes; nothing readable → ``damaged/``.
    Move, Prune, Drop, Note: ``agent.outbox``.
    Start   take over the token's files from the places of earlier versions (``token/``), once: copied durably, then
            removed; a version of one process that is installed again finds them through the links left there.
"""
