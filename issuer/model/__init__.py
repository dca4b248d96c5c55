"""What people write: one file a resource kind, `kinds` the table of them.

Values only: no clock, no I/O, no framework. `kinds` holds the rows, `resource` the stored shape all kinds share, `faults`
the errors of the admin API, and `metadata`, `durations`, `conditions`, `scopes` the pieces several kinds are made of. `status`
and `answers` describe what is only read, `examples` has a manifest of each kind; both are for readers of the reference.
"""
