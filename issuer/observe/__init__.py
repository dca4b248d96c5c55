"""Readings of events: `log` makes lines of them, `metrics` numbers, `spans` what is said of a request.

Nothing else decides what becomes of an event.
"""
