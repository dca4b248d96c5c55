"""Issuer: an OAuth 2.0 authorization server for machines.

The code map: the modules in the order a token request meets them, each with what it can refuse.

    web.listen       sockets and servers; .room how many come in, .handshake TLS      503
      .connection      what a connection may send, and how long it may take       405, 408, 431
    web.token        reads a bounded body                                         413
    issuance         THE PAGE: everything below, top to bottom, on one screen
    protocol         what was sent, RFC text as code, no clock and no I/O
      .request         parameters                                                 invalid_request
      .grants          the table of grants, and what is asked for                 unsupported_grant_type, invalid_scope, …
      .authentication  the table of client authentication methods                 invalid_client
      .source          who is counted: the peer, or whom a trusted proxy speaks for; .tracing which trace it is
      .response        what is sent back: the one map from refusals to HTTP
      .metadata        what the tables say of themselves: discovery
    directory        the account: from memory, or by one query for many           503
    credentials      the life of a client secret; comparing one                   invalid_client
    policy           what is granted, and why: a value with reasons
      .governed        the account under every policy that reaches it, merged once
      .decide          what this request gets                                     invalid_scope, invalid_target, …
      .reasons         which policies brought that about, and which bind
    ratelimit        tokens and failures a minute, room to wait                   429
    signing          from a decision to a signed token
      .ticket          the only way to an unsigned token
      .signer          the signature; .keyring whose; .sealing at rest; .verifier back again
    workers.recorder the record is committed before the token leaves, shared with others in flight              503
      .lanes           two of them take turns; .shipping batches into the database, .spool on disk while it is away
    record           what is recorded: .decision its bytes, .ids in order, .chain so that nobody changes it
      .checkpoint      how far it had come, signed; .verifying that nobody touched it since
    snapshot         what all of this knows of the world: one immutable value, swapped whole

How the world comes to be, from the other side:

    cli              people: servers beside the database, clients beside the admin port
    web.resources    the admin API: Kubernetes conventions in HTTP; .lists LIST and WATCH, .guarded who may
    administration   the single write path: guard, authorize, resources, secrets, bootstrap, rekeying
    checks           what `issuer check` judges: facts in, findings out, one table
    reference        what the API is, for programs and people: the table of requests, schemas, the reference page
    model            what people write: one file a resource kind, `kinds` the table of them
    store            PostgreSQL: the one statement by which objects change, secrets, keys, migrations
    workers          what runs beside requests: reload keeps snapshot and directory true (compiler makes one),
                     turnstile lets those go on who waited for a look, changefeed feeds watchers,
                     attestation seals and signs the record, retention lets its days come and go,
                     folding makes usage of the record, refusals counts those of strangers,
                     clockskew, housekeeping, readiness of all processes, supervisor

And what all of them stand on:

    failures         the closed list of refusals: public sentence and internal cause
    events           the closed list of everything worth noticing
    observe          what becomes of it: log lines, and nothing else logs; metrics, and nothing else counts; spans, where the
                     extra `otel` is asked for, one around each request (web.tracing)
    settings         environment and file, once, frozen; manifests reads YAML and JSON; sources are time and chance
    durable          files that are whole or not there
    wiring           puts it together; the only module that may import everything; serving runs it, in one process or many
    embedded         the PostgreSQL of development and tests

Where a new thing goes, each one small module and one row:

    a grant                          protocol/grants.py           GRANTS
    a client authentication method   protocol/authentication/     METHODS
    a resource kind                  model/<kind>.py              KINDS in model/kinds.py
    an event                         events.py                    LEVELS in observe/log.py, READINGS in observe/metrics.py

Caches, all of them:

    what                        kept in                  as long as                      when stale
    keys, peppers, policies     Snapshot                 until a newer revision is seen  at most one poll (250 ms) old
    accounts by client_id       Directory, LRU           until a write of it is seen     at most one poll old
    an account under policies   snapshot.Account         until any policy changes        never: compiled again at use
    what it asked for last      the same                 the same                        never: nothing in it depends on time
    ids that nobody has         Directory, bounded       a second                        no token for that second
    token and failure rates     ratelimit, LRU           a minute                        who is evicted starts anew
    the JWKS document           web.discovery            one snapshot                    with its snapshot
"""
