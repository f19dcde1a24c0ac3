"""How fast the API may be called: the pauses it asks for, the fleet's common limit, the device's own budget, backoff.

All waits are moments of the monotonic clock with jitter, kept in the index where a restart must not forget them.
"""
