"""The process that hears: microphone → Opus → Ogg → finished files with sidecars. LED, button, watchdog, control.sock.

It has no network, no device token and no SQLite: nothing that comes from outside may reach the recording. What it
imports, and what that imports, holds neither ``httpx``, ``sqlite3``, ``ssl``, ``agent.sync`` nor ``agent.index``.

Who writes what
    recorder    ``recording/`` while a file is open (locked from before it has its name until its sidecar has its
                own), the renames into ``outbox/``, ``recorder.json``, ``muted``, ``marks.json``, ``gaps.jsonl``,
                ``days.jsonl`` (a line a day), the reserve file ``ballast``, ``config.last-good.toml``; in memory
                ``control.sock``, ``recorder-status.json`` and the merged ``status.json``.
    deliverer   everything else (``agent.deliverer``).
    Each file has one writer. A finished pair (audio and sidecar) belongs to whoever holds the lock of its audio file
    (``agent.outbox.locks``), taken without waiting: the deliverer to send and move it, either to prune or drop it.

What comes from the deliverer, and nothing else, each checked as a stranger's: commands on ``control.sock``;
``delivery.json`` (``agent.status.process_documents``); ``clock.json`` (another boot or out of range: not known);
``binding`` (a fingerprint; missing and never seen: none; missing though seen before, or unreadable: ``unknown``, held
later). A binding that changes cuts the open file.

Invariants
    P1  The recorder waits for nothing but the microphone, the encoder and the disk of the audio file. It tells the
        deliverer of a file by a datagram that is lost when nobody takes it, and never by anything that can block.
    P2  A sequence number is given once: it is in ``recorder.json``, durable, before a file bears it. Lost or torn,
        it is counted on from all names of files.
    P3  The gap log is written from ``recorder.json`` and the files, never from the index. An absence ends where the
        next recording begins: at the start the newest of ``recorder.json``'s instant, the ends of torn files (their
        last page, read and left alone) and the end of the newest gap is where recording ended.
    P4  What cannot be healed (no encoder, no right to the folder, a setting that cannot work) is the state ``fault``,
        tried again every 10 s; it ends neither thread nor process.
    P5  A line of a day has no file that ``recorder.json`` has not: a file is counted for its day once.

Procedures
    Open    number (durable) → ``<stem>.opus.new``: create, lock, both headers, fsync → rename to ``.part`` → fsync of
            the folder. While a recorder runs nobody else looks at ``.new``; left behind it is removed.
    Finish  last page with EOS, fdatasync → sidecar under a temporary name in ``outbox/``, fsync → rename the audio
            into ``outbox/``, then the sidecar to its name, which commits → fsync of both folders → ``recorder.json``
            → unlock → tell the deliverer.
    Room    ``sent/`` confirmed by hash, then the rest of ``sent/``, oldest first; then with ``drop_oldest`` the
            oldest of ``outbox/`` that nobody holds: lock, line in the gap log, audio, sidecar, fsync of the folder.
"""
