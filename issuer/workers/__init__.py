"""What runs beside the requests.

`reload` (the world in memory), `firstuse` (a pending secret's first use), `namespaces` (contents of deleted namespaces).
"""
