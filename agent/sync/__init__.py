"""Delivery: from the outbox to the recordings API, whatever the network and the server do.

``syncer`` drains the outbox, ``delivery`` takes one recording through its steps, ``failures`` says what a failure
means, ``connection`` whether anything may be sent now. ``pacing/`` is how fast, ``rules/`` what the owner lets wait,
``remote/`` the heartbeat and the commands that it brings.

Invariants
    D1  The next step of a recording is the first fact that is missing; a crash between two steps repeats at most the
        one whose answer was not recorded.
    D2  A fact is recorded before anything is done that relies on it: the create body before the create, "completion
        asked" before the complete.
    D3  Being offline uses up no recording's attempts; a refusal of one recording never stops the next.
    D4  No call is made before the time a server asked for (Retry-After), not even by hand or after a restart.
    D5  The token goes to the API only, upload URLs to storage only; neither is logged.

Procedures
    Deliver  freeze the body → create → upload URL (unless an unexpired one is there) → hash of the file compared →
             PUT → "completion asked" → complete → completed → files move to ``sent/``. After each arrow the fact is
             committed, and in the sidecar too: but for the upload URL, and for a PUT until "completion asked".
    Drain    oldest first: deliver what is due, as long as ``connection`` knows no obstacle. The class of a failure
             (``api.errors``) decides what happens:
             Offline → stop, back off, nobody's attempt. RateLimited → no call until then. Unauthorized → stop until the
             token changes, probe every 15 min. Busy → this one backs off; three in a row and the drain does.
             StillVerifying → this one again after 2, 4, 8, 10 … s, the next meanwhile. RequestRejected and
             InvalidResponse → parked, tried again once a day for a week; three creates in a row rejected alike →
             nothing is parked, delivery stops and probes every 15 min. A changed file → parked as damaged.
             WaitsByRule → the owner's rules: stop, and look again.
"""
