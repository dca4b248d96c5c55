"""PostgreSQL, the one durable thing. Nothing else in the product knows SQL.

`tables` (the schema the migrations build), `schema` (its version), `database` (pools and transactions), `resources` (objects
and the one statement by which they change), `secrets`, `keys`, `installation` (first start), `world` (what a snapshot and a
directory entry are read from).
"""
