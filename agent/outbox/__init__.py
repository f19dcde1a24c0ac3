"""What waits to be delivered: files that are the truth, and an index that can be rebuilt from them.

Folders under the state directory: ``recording/`` (open ``.part`` files), ``outbox/`` (finished, not yet delivered),
``sent/`` (delivered, kept for a while), ``damaged/``; the index is ``outbox.db``. A recording is two files of one
stem: ``<stem>.opus`` and its sidecar ``<stem>.json``.

Invariants
    I1  Every finished file is in the index, or will be adopted: by the next look, or after the next start.
    I2  No file in ``recording/``, ``outbox/`` or ``damaged/`` is deleted by the program, except by what the owner
        chose.
    I3  A file leaves ``outbox/`` only after the API has confirmed it (api.md section 4).
    I4  Two copies of the same audio are never stored on the server by us: a repeated PUT goes to the same recording.
    I5  An entry records facts, what has happened and when; the next step is what has not happened yet, and
        ``status`` is computed from the facts.
    I6  A fact is in the index first, then in the sidecar; where they disagree, the further fact wins. The index is
        ahead after a kill between the two, and behind after a power cut in a delivery.

Procedures
    Finish  last page with EOS, fdatasync (recording/) → sidecar under a temporary name in ``outbox/``, fsync → rename
            the audio into ``outbox/``, then the sidecar to its own name, which commits → fsync of both folders. The
            row follows when the deliverer adopts it (``agent.deliverer``).
    Note    facts → commit → sidecar replaced (temporary name, fsync, rename, fsync of the folder).
    Advance the same for the next fact of a delivery, whose commit is not synced: the sidecar, which is, says the same.
            A commit that is synced, and the end of a drain, sync all that came before.
    Move    completed: commit, not synced → sidecar replaced, its name not synced → rename both into ``sent/`` (audio
            first) → fsync of ``sent/``; of ``outbox/`` with the next sidecar there, else at the end of the drain, and
            before a Prune. Until then a power cut may leave the old names beside the new ones.
    Damage  parked: commit → sidecar → rename both into ``damaged/`` (audio first) → fsync of both folders.
    Recover a person asks, and a damaged file is what was recorded after all: rename both back into ``outbox/`` (audio
            first) → fsync of both folders → no longer parked: commit → sidecar.
    Prune   row → commit → audio unlinked → sidecar unlinked → fsync of the folder.
    Reconcile, per stem, in the order of the folders
        recording/  a ``.part`` that nobody writes: its sidecar is in ``outbox/`` → finish its move; else repair
                    (cut after the last good page, EOS), mark it ``recovered``, finish it; nothing usable →
                    ``damaged/``. A temporary file, here and elsewhere → gone, but for the sidecar of a Finish that
                    its ``.part`` or its audio in ``outbox/`` still needs.
        outbox/     audio whose sidecar has not its name yet → finish its Finish. No row → adopt, from the sidecar
                    (of a Move's renames a power cut may leave any: it may be in ``sent/`` or ``damaged/`` already)
                    or from the file's own tags; row says completed → finish its move; sidecar without audio → the
                    audio is in ``sent/`` (finish the move), or was delivered or let go (the rest of a Prune or a
                    drop, removed), or is lost (parked, ``damaged:``).
        sent/       no row → adopt as delivered; row not completed → completed (the further fact); sidecar alone →
                    the rest of a Prune, removed.
"""
