"""Capturing a microphone in a process of its own, supervised: it can be killed at any moment (``agent.audio``, A2).

This module stays empty: the capture process imports it and must stay small.
"""
