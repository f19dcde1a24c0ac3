"""The device token: where it comes from, whose audio it may send, how it is exchanged for another (api.md section 7).

Invariants
    C1  The token is in its file, in memory, and in the Authorization header; nowhere else.
    C2  What was captured under one binding is never sent under another that is not known to be the same person's.
    C3  A refresh is durable at each step: whenever it is cut off, one of the two tokens is found that the API takes.
"""
