"""What `issuer check` judges before and beside a deployment: facts in, findings out, every judgement pure.

`cases` says what can be known, `table` which check wants which case; facts are gathered by `cli.gathering` and `store.facts`.
A new check is one small function and one row.
"""
