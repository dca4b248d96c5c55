"""What the admin API is, said in the words of the models: for programs (OpenAPI) and for people (the reference page).

Nothing here is written twice. `schemas` reads the models of `issuer.model`, `operations` is the table of requests, and
`page` makes Markdown of both; `web.openapi` makes the OpenAPI document of the same. Pure: no clock, no I/O.
"""
