"""The server commands as a person types them: `migrate`, `bootstrap`, `check`, `rekey`, `serve` for production, and `dev`.

What they do stands in `starting`, `checking` and `rekeying`, imported only when one of them runs: they bring the whole server
along, and `issuer get` should not wait for that.
"""

from pathlib import Path
from typing import Annotated

import typer

from issuer.cli.output import Format

ADMIN_ADDRESS = "127.0.0.1:8081"
"""Where `serve` and `dev` listen for administrators unless told otherwise."""

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="ISSUER_CONFIG", metavar="FILE", help="YAML file of settings; the environment wins over it."
    ),
]
PublicAddress = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT", help="Where workloads and verifiers come in. 0.0.0.0 is IPv4 only, [::] IPv6 only."
    ),
]
AdminAddress = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where administrators come in. Keep it private.")]


def serve(
    public: PublicAddress = "0.0.0.0:8080",
    admin: AdminAddress = ADMIN_ADDRESS,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, metavar="N", help="Processes that issue tokens; one a core. One more serves --admin."
        ),
    ] = 1,
    config: ConfigFile = None,
) -> None:
    """Serve tokens in production.

    Needs ISSUER_URL, ISSUER_DATABASE_URL and ISSUER_MASTER_KEY_FILE (or ISSUER_MASTER_KEY), and a database that
    `issuer migrate` and `issuer bootstrap` prepared. While that is away, empty or not bootstrapped it answers 503 and
    /readyz says what is missing. A schema that is older than the program ends it at the start: `issuer migrate` first.
    """
    from issuer.cli import starting  # noqa: PLC0415 - see above

    starting.serve(public, admin, workers, config)


def migrate(
    config: ConfigFile = None,
    to: Annotated[
        str, typer.Option(metavar="VERSION", help="Schema version, such as 0001; `base` is none at all.")
    ] = "head",
    remove_data: Annotated[
        bool, typer.Option("--remove-data", help="Go to an older version, though what newer ones store is removed.")
    ] = False,
) -> None:
    """Bring the database's schema to this program's version. Safe to run again; needs only ISSUER_DATABASE_URL."""
    from issuer.cli import starting  # noqa: PLC0415 - see above

    starting.migrate(config, to, may_remove=remove_data)


def bootstrap(
    config: ConfigFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the administrator's credential there (mode 0600) instead of printing it."
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="Enable the administrator again and make a new secret; older ones are cut."),
    ] = False,
) -> None:
    """Make the first keys and the first administrator, whose credential is shown once. Run again, it changes nothing.

    The credential comes as lines for a shell: after `set -a; . ./FILE`, `issuer get serviceaccounts -A` works here.
    """
    from issuer.cli import starting  # noqa: PLC0415 - see above

    starting.bootstrap(config, out, recover=recover)


def rekey(config: ConfigFile = None) -> None:
    """Replace the master key: wrap everything sealed anew, under the first key of the file, while servers run.

    Every server must be running with that key as its first line before. Reads the settings that `serve` reads. Run again, it
    goes on where it was. Says in the end which other keys can be taken out; exit code 1 when something is left.
    """
    from issuer.cli import rekeying  # noqa: PLC0415 - see above

    rekeying.rekey(config)


def check(
    config: ConfigFile = None,
    replicas: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="How many `issuer serve` the database is to carry.")
    ] = 2,
    workers: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="The --workers each of them is started with.")
    ] = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="For people, or for machines.")] = Format.TABLE,
) -> None:
    """Say what is wrong with a deployment, and what to do. Before it or beside it: nothing is changed.

    Reads the settings that `serve` reads, and the database: configuration, master key, schema, durability, connections,
    encryption, clocks, signing keys, secrets nobody fetched. Exit code 1 when something does not work or is not safe.
    """
    from issuer.cli import checking  # noqa: PLC0415 - see above

    checking.check(config, replicas, workers, strict=strict, style=output)


def dev(
    public: PublicAddress = "127.0.0.1:8080",
    admin: AdminAddress = ADMIN_ADDRESS,
    data_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Database, keys and credentials of this playground.")
    ] = Path(".issuer"),
    config: ConfigFile = None,
) -> None:
    """Run a complete issuer on a PostgreSQL of its own, with a demo account. For development only.

    Prints a curl line that works, and writes DIR/dev.env. The other commands find .issuer/dev.env by themselves; any
    other file is named with --env-file.
    """
    from issuer.cli import starting  # noqa: PLC0415 - see above

    starting.dev(public, admin, data_dir, config)
