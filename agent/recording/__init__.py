"""From blocks of sound to finished files: segments, sessions, and what asks for them.

A *session* is what is recorded in one go: a stretch of continuous recording, a window of the schedule, one manual
recording. Its audio is cut into *segments*, one Ogg Opus file each, counted from 1; all of them carry the session's id.

Invariants
    R1  The samples of a session's segments, put one behind the other, are the captured samples: none lost, none twice.
    R2  Every segment is a stream of its own (encoder reset, own headers, own end) and plays alone.
    R3  What was captured before a loss, a signal or an error is finished and handed on as a valid file.
    R4  The open file alone tells who it is: its OpusTags carry the ``SegmentStart``, so it can be repaired without
        the index.
    R5  While recording only the audio file grows: a page every 0.8 s, fdatasync every ``flush_seconds``
        behind all that was captured until then, so that a power cut costs that much sound and what is on its way.

Procedures
    P1  Open: create ``recording/<stem>.opus.part`` and lock it (flock: somebody is writing) → both headers → fsync →
        fsync of the folder. Opened with the first block, never before: a session without sound leaves no file.
    P2  Grow: block → Opus frames → pages; every ``flush_seconds`` the open page is closed, and fdatasync.
    P3  Cut: at the exact sample where the segment is full, finish it and open the next with the rest of the block.
    P4  Finish: pad, last page with EOS, fdatasync; the file stays locked until the outbox has taken it over.
    P5  Lose the source: finish the segment; the session goes on with its next segment when sound is back.
    P6  Another request while continuous recording runs (a manual recording): cut, record that session, cut, go on.
    P7  Mute: finish the segment and let go of the device; nothing is captured until a person unmutes, restarts
        included, and the gap log has what was wanted meanwhile. Mark: kept durably beside the index while the file
        is open, in its metadata once it is finished or repaired.
    P8  Listen for a voice: all that is heard passes the gate (``voice``), which hands on stretches, each a session of
        its own. What it rejects is not wanted: it is accounted for up to the newest block, durably once a minute, so
        that after a kill what follows that instant is a gap.
    P9  Keep the last minutes: an encoder runs while nothing is asked for, its packets stay in memory (``ring``), and
        the recording that is asked for begins with them. A mute, another owner and a restart empty it.
"""
