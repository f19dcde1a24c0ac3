"""What the owner lets wait: hours of the day, bytes a day, networks, a low battery; how long the queue takes at that.

A rule says so by ``WaitsByRule``: why, what to do about it, and until when. That is all it takes for delivery to stop,
for ``status`` to show it and for ``sync`` and ``doctor`` to name it.
"""
