"""The local sockets: how people and the other process ask a process that runs; one JSON object a line.

Invariants
    L1  Who asks is what the kernel says (SO_PEERCRED): the service's user, root, or a member of ``control.group``;
        what only an admin may ask is refused to the others.
    L2  Nobody holds up anybody: connections are few, a silent one is cut, an answer is written in a thread of its own.
    L3  A request that is malformed or too long gets one sentence and an exit code, as everything else that fails does.
"""
