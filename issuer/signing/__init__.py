"""From a decision to a signed token: `keyring` (which key), `ticket` (what is signed), `signer` (how), `sealing` (at rest)."""
