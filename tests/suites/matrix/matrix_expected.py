"""What the agent must do with each answer to each call: typed from api.md, read by nothing but the judge.

A cell of ``CELLS`` is a word of ``WORDS``; ``older/newer`` where the two contracts of api.md section 4 differ.
"""

from typing import NamedTuple

CALLS = ("create", "url", "put", "complete", "heartbeat", "refresh")
DELIVERY = CALLS[:4]
"""The calls that concern a recording; an end state is told for these."""

WORDS = {
    "ok": "1 'accept any 2xx'; 3 '2xx with an ETag is success'; 4 'done'; 6 'never fails because of its answer's body'",
    "offline": "5 offline: 'stops the drain, tries again with backoff, uses up no recording's attempts'; "
    "5 'a 200 that is not the expected JSON object is a network failure'; 3 '2xx without one is a proxy or portal'",
    "apart": "5 offline: 'A storage host that cannot be reached while the API can concerns that recording: "
    "it backs off, the next goes on'",
    "busy": "5 busy: '408, 425, 429, 5xx: backs off'; 3 '400 RequestTimeout, 500, 503 SlowDown: transient'",
    "pause": "5 '429 pauses ALL calls until Retry-After, else X-RateLimit-Reset, else backoff; always with jitter'",
    "key": "5 credential: '401, 403 from the API with a JSON error body: stops API work, probes every 15 min'",
    "park": "5 rejected: 'other 4xx: this recording only, parked with the reason, file kept, again once a day'; "
    "5 systemic: 'three recordings in a row answered with the same 4xx at the same step: nothing is parked'; "
    "4 '404: parked', '400 otherwise: parked with the server's words'",
    "fresh": "3 '403 = expired URL or wrong headers: fresh URL, at most 3 in a row'",
    "again": "4 '409: fresh URL, PUT and complete again, at most 3 times, then parked'",
    "verify": "4 '425: identical request after 2, 4, 8, 10 s; no new PUT, no attempt used'",
    "doubt": "4 '200 with another id or another hash: not trusted: keep the file, raise it'",
    "distrust": "doubt, and then 4 '400 otherwise': the older contract answers so when it is asked again, a day later",
    "ghost": "intro 'ids are opaque, URL-encode them in paths'; 4 '404: deleted in the portal, parked'",
    "stuck": "4 '400 otherwise: parked': a 500 is an answer, so the 400 that the older contract gives next parks",
    "renewed": "7 'answers device_token; the old one is dead at once'; the new one is on disk",
    "kept": "7 'a failed refresh leaves it valid': said, the old token goes on, the next refresh works",
    "lost": "7 'a lost answer loses the credential': said, sync stops, resumes when a person gives a token",
    "refused": "5 rejected, of a call that concerns no recording: said, and made again in its own time",
}
"""Each word by the sections and sentences of api.md it is typed from."""

CELLS = """
answer               create   url      put      complete    heartbeat refresh
200                  ok       ok       ok       ok          ok        renewed
201                  ok       ok       ok       ok          ok        renewed
202                  ok       ok       ok       ok          ok        renewed
204                  offline  offline  ok       offline     ok        lost
301                  offline  offline  offline  offline     offline   kept
302                  offline  offline  offline  offline     offline   kept
307                  offline  offline  offline  offline     offline   kept
400                  park     park     park     park        refused   kept
401                  key      key      fresh    key         key       kept
403                  key      key      fresh    key         key       kept
404                  park     park     park     park        refused   kept
408                  busy     busy     busy     busy        busy      kept
409                  park     park     park     again       refused   kept
413                  park     park     park     park        refused   kept
415                  park     park     park     park        refused   kept
422                  park     park     park     park        refused   kept
425                  busy     busy     busy     verify      busy      kept
429                  pause    pause    pause    pause       pause     pause
500                  busy     busy     busy     busy        busy      kept
502                  busy     busy     busy     busy        busy      kept
503                  busy     busy     busy     busy        busy      kept
504                  busy     busy     busy     busy        busy      kept
511                  offline  offline  offline  offline     offline   kept
400-RequestTimeout   park     park     busy     park        refused   kept
401-html             offline  offline  fresh    offline     offline   kept
403-html             offline  offline  fresh    offline     offline   kept
403-empty            offline  offline  fresh    offline     offline   kept
429-http-date        pause    pause    pause    pause       pause     pause
429-unix-time        pause    pause    pause    pause       pause     pause
429-small-number     pause    pause    pause    pause       pause     pause
429-silent           pause    pause    pause    pause       pause     pause
500-but-done         busy     busy     busy     stuck/busy  busy      lost
503-retry-after      busy     busy     busy     busy        busy      kept
dropped-before       offline  offline  apart    offline     offline   kept
dropped-after        offline  offline  apart    offline     offline   lost
answer-cut-0         offline  offline  apart    offline     offline   lost
answer-cut-1         offline  offline  apart    offline     offline   lost
answer-cut-half      offline  offline  apart    offline     offline   lost
answer-cut-last      offline  offline  apart    offline     offline   lost
request-cut-0        offline  offline  apart    offline     offline   kept
request-cut-1        offline  offline  apart    offline     offline   kept
request-cut-half     offline  offline  apart    offline     offline   kept
request-cut-last     offline  offline  apart    offline     offline   kept
slow                 ok       ok       ok       ok          ok        renewed
stalled              offline  offline  apart    offline     offline   lost
stalled-half         offline  offline  apart    offline     offline   lost
html                 offline  offline  offline  offline     ok        kept
empty                offline  offline  offline  offline     ok        kept
json-array           offline  offline  offline  offline     ok        kept
json-string          offline  offline  offline  offline     ok        kept
json-missing-id      offline  offline  offline  offline/ok  ok        lost
wrong-id             ghost    ok       ok       distrust/doubt ok        renewed
wrong-hash           ok       ok       ok       distrust/doubt ok        renewed
huge-body            offline  offline  ok       offline     ok        lost
redirect             offline  offline  offline  offline     offline   kept
"""
"""``json-missing-id``: the newer complete still carries our hash as verified; NOT SHOWN, so tolerated.
A huge body: NOT SHOWN; no object of the API is a megabyte long. A 401 of storage, and a 403 of storage without a
body: NOT SHOWN; a refused URL like any other 403 of section 3."""

SEQUENCES = """
dropped-after,400    -        -        -        offline     -         -
dropped-before,400   -        -        -        offline     -         -
stalled,429,400      -        -        -        offline     -         -
504,400              -        -        -        busy        -         -
429,400              -        -        -        park        -         -
401,400              -        -        -        park        -         -
503,400              -        -        -        park        -         -
"""
"""Section 4: '400, and an earlier complete of ours for this recording ended without an answer' is done; '400
otherwise' is parked. A 504 is a gateway that got no answer; 429, 401 and 503 are answers that took nothing."""


class Course(NamedTuple):
    """What must be seen of the recording that met the fault first, and what must be true in the end."""

    first: str
    """After the drain that met the fault: delivered, offline, busy, paused, refused, parked, systemic, verifying."""
    hours: str
    """Two hours later, long after the server has become healthy: delivered or parked."""
    end: str
    """After a week and more."""


COURSES = {
    # word: the answer came once, the answer came four times
    "ok": (Course("delivered", "delivered", "delivered"), Course("delivered", "delivered", "delivered")),
    "offline": (Course("offline", "delivered", "delivered"), Course("offline", "delivered", "delivered")),
    "apart": (Course("nothing", "delivered", "delivered"), Course("nothing", "delivered", "delivered")),
    "busy": (Course("busy", "delivered", "delivered"), Course("busy", "delivered", "delivered")),
    "pause": (Course("paused", "delivered", "delivered"), Course("paused", "delivered", "delivered")),
    "key": (Course("refused", "delivered", "delivered"), Course("refused", "delivered", "delivered")),
    "park": (Course("parked", "parked", "delivered"), Course("parked", "parked", "delivered")),
    "fresh": (Course("delivered", "delivered", "delivered"), Course("busy", "delivered", "delivered")),
    "again": (Course("delivered", "delivered", "delivered"), Course("parked", "parked", "delivered")),
    "verify": (Course("verifying", "delivered", "delivered"), Course("verifying", "delivered", "delivered")),
    "doubt": (Course("parked", "parked", "delivered"), Course("parked", "parked", "delivered")),
    "stuck": (Course("busy", "parked", "parked"), Course("busy", "stored", "stored")),
    "distrust": (Course("parked", "parked", "parked"), Course("parked", "parked", "stored")),
    "ghost": (Course("parked", "parked", "parked"), Course("systemic", "created", "created")),
}
SYSTEMIC = Course("systemic", "delivered", "delivered")
"""Four recordings in a row that are refused alike at one step: section 5, systemic. ``stuck``, ``distrust`` and
``ghost`` end there too when there are four of them, for the step refuses each of them for good."""

RETRY_AFTER = 30.0
"""Seconds the server asks for with each 429 and with ``503-retry-after``."""
PROBE_SECONDS = 900.0
"""Section 5: 'probes every 15 min'."""
VERIFYING_WAITS = (2.0, 4.0, 8.0, 10.0)
REPEATS = 3
LONGEST_BACKOFF = 300.0


class Row(NamedTuple):
    """The words of one answer, by call."""

    answer: str
    words: dict[str, str]


def rows(text: str = CELLS) -> list[Row]:
    """Return the table; ``older/newer`` is left as it is, ``-`` is left out."""
    lines = [line.split() for line in text.strip().splitlines()]
    return [
        Row(line[0], {call: word for call, word in zip(CALLS, line[1:], strict=True) if word != "-"})
        for line in lines
        if line[0] != "answer"
    ]


def word_for(words: str, contract: str) -> str:
    """Return the word of one contract."""
    older, _, newer = words.partition("/")
    return newer if newer and contract == "newer" else older


def course_of(word: str, times: int) -> Course:
    """Return what must be seen when a call is answered so often with what the word stands for."""
    if word == "park" and times > 1:
        return SYSTEMIC
    return COURSES[word][times > 1]
