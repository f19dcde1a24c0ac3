"""A page for a phone: what the recorder does, without a shell.

It reads and nothing else: status, level, report, asked of the two processes by their sockets as a member of the control
group may; no audio, no token, no index, no file of the state directory. Commands only with ``--allow-control`` and the
password. A process of its own, started when somebody looks and gone ten minutes after; recorder and deliverer know
nothing of it. What many ask is asked of the recorder once (``source``): a crowd at the page is none at the recorder.

Whoever asks passes, in this order: a limited number of connections and a time for each (``guard``), a host that is ours
(``hosts``), the password beyond loopback (``password``), one of few fixed paths (``app``).
"""
