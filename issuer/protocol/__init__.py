"""RFC text as code: no clock, no I/O, no framework. Bytes come in, values or one `Refusal` come out.

`request` (what was sent), `authentication` (the table of client authentication methods), `grants` (the table of grants),
`response` (what is sent back), `metadata` (what the tables say of themselves in the discovery documents).
"""
