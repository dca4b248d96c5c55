"""What runs beside the requests.

`reload` (the world in memory), `firstuse` (a pending secret's first use), `keyrotation` (signing keys),
`housekeeping` (deleted namespaces, the change log, and how every such worker runs).
"""
