"""Sound: from a microphone or a WAV file to Ogg Opus pages.

Invariants
    A1  Every sample that a source hands out reaches the encoder once, in order.
    A2  The process that owns PortAudio (``agent.capture``) can be killed at any moment without harm to its parent.
    A3  A page in the file is complete or recognisably torn (CRC): whatever follows the last good page can be cut.

Procedures
    P1  Listen: spawn the capture process → wait for its hello (5 s) → read frames (1.5 s without one: wedged)
        → on loss kill it, say so once, spawn again with backoff.
    P2  Encode: fill one Opus frame of samples → encode → hand the packet to the pager, which holds one back.
    P3  Page: collect packets until 0.8 s or 255 lacing values → one page, one write.
    P4  End: pad the last frame with zeros (one more frame when the encoder's look-ahead asks for it) → last page
        with EOS and the granule position pre-skip + samples × 48000 / rate (RFC 7845 section 4).
"""
