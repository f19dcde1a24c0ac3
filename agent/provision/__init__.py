"""Settings, device token and certificate that somebody brings on a card or a stick, for a recorder without a shell.

All or nothing: what a folder brings is read and checked as a whole, and refused as a whole; what is refused changes
nothing. The order is certificate → settings → token → the token is overwritten and removed where it came from → the
outcome beside it. A crash behind any step is made good by the next start: what is there already is no change.

A folder never decides for its owner where a token goes: while one is set, and ``[provision] replace_token`` of the
settings *in use* does not allow it, neither another token nor another API, certificate or permission is taken.
"""
