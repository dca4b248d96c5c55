"""The single write path of REST, CLI, console and operator.

`guard` (who is asking), `authorize` (the one choke point), `writing` (one transaction: object, change log, audit record,
revision), `preconditions`, `resources` (create … delete), `secrets` (their delivery), `effects` and `explanation` (what
policies would do, and why they do it), `bootstrap` (first start).
"""
