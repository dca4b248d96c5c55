"""The single write path of REST, CLI, console and operator.

`authorize` (the one choke point), `guard` (who is asking), `writing` (one transaction: object, change log, audit record,
revision), `resources` (create … delete), `credentials` (delivery of secrets), `bootstrap` (first start).
"""
