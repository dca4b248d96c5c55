"""Whoever can write to the database and has no master key: every change is found, and its place is named."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import ECKey

from issuer.administration.verification import Witnesses
from issuer.events import CheckpointSigned
from issuer.record.chain import ChainedRecord, Link, first_link, next_link
from issuer.record.checkpoint import read_checkpoint, sign_checkpoint
from issuer.store.tables import decision_records
from tests.evidence.ledger import Scene, said_of_changes

NEW_VALUES = {
    "at": "at + interval '1 microsecond'",
    "account_uid": "gen_random_uuid()",
    "account_revision": "account_revision + 1",
    # A null is not an empty text.
    "requested_scope": "''",
    "ttl_s": "ttl_s + 1",
    "policies": "'[]'",
    "trace_id": "''",
    "mac": "set_byte(mac, 0, get_byte(mac, 0) # 1)",
}
# Where a record is in its chain, and which record it is: tested by moving rows.
PLACES = {"id", "writer", "sequence"}


async def test_one_change_in_any_column_of_a_decision_is_named(scene: Scene) -> None:
    record = scene.rows[2].record.id
    columns = [column.name for column in decision_records.columns if column.name not in PLACES]
    values = {column: NEW_VALUES.get(column, f"{column} || 'x'") for column in columns}
    said = await said_of_changes(scene.ledger, "decision_records", record, values)
    named = f"record {record}, at 3 of chain {scene.writer.writer}, is not what was recorded"
    assert said == {column: [("record changed", named)] for column in columns}


async def test_an_id_that_was_changed_is_a_record_that_was_changed(scene: Scene) -> None:
    record = scene.rows[2].record.id
    statement = f"UPDATE decision_records SET id = '{UUID(int=record.int + 1)}' WHERE id = '{record}'"  # noqa: S608
    await scene.ledger.execute(statement)
    assert [kind for kind, _ in await scene.ledger.says()] == ["record changed"]


Tampering = Callable[[Scene], Awaitable[None]]


def sql(statement: str) -> Tampering:
    async def tamper(scene: Scene) -> None:
        places = {f"id{number}": row.record.id for number, row in enumerate(scene.rows, 1)}
        await scene.ledger.execute(
            statement.format(writer=scene.writer.writer, other=scene.other, new=uuid4(), **places)
        )

    return tamper


def recomputed(rows: list[ChainedRecord], head: Link) -> tuple[list[str], Link]:
    """Statements by which the records say something else, with MACs that follow from `head`, made with another key."""
    statements = []
    for record, _ in rows:
        head = next_link(b"not the key of this chain" * 2, head, record._replace(scope="api:admin"))
        statements.append(moved(record.id, head))
    return [*statements, "UPDATE decision_records SET scope = 'api:admin'"], head


def moved(record_id: UUID, link: Link) -> str:
    """The statement by which a record gets another place in its chain."""
    place = f"sequence = {link.sequence}, mac = '\\x{link.mac.hex()}'"
    return f"UPDATE decision_records SET {place} WHERE id = '{record_id}'"  # noqa: S608


async def recompute(scene: Scene) -> None:
    """The third record is changed, and every MAC from it on made anew."""
    statements, _ = recomputed(scene.rows[2:], scene.rows[1].link)
    only = f"{statements[-1]} WHERE writer = '{scene.writer.writer}' AND sequence > 2"
    await scene.ledger.execute(";".join((*statements[:-1], only)))


async def recompute_from_the_start(scene: Scene) -> None:
    """The same with the whole chain, its row included."""
    writer = scene.writer.writer
    statements, head = recomputed(scene.rows, first_link(b"not the key of this chain" * 2, writer))
    row = f"UPDATE record_chains SET mac = '\\x{head.mac.hex()}' WHERE writer = '{writer}'"  # noqa: S608
    await scene.ledger.execute(";".join((*statements[:-1], f"{statements[-1]} WHERE writer = '{writer}'", row)))


async def swap_sequences(scene: Scene) -> None:
    """Two records change places: their sequences and MACs do."""
    one, two = scene.rows[1], scene.rows[2]
    await scene.ledger.execute(f"{moved(one.record.id, two.link)};{moved(two.record.id, one.link)}")


async def make_up_a_chain(scene: Scene) -> None:
    """A token that was never asked for, in a chain of its own that begins in good order."""
    record = scene.rows[0].record._replace(id=UUID(int=scene.rows[0].record.id.int + 1))
    writer = uuid4()
    connection = await scene.ledger.connect()
    await connection.write([ChainedRecord(record, next_link(b"k" * 32, first_link(b"k" * 32, writer), record))])
    connection.close()


def edited(text: str, **changes: object) -> str:
    """The same checkpoint saying something else, with the signature that it had."""
    header, payload, signature = text.split(".")
    document = json.loads(urlsafe_b64decode(payload + "==")) | changes
    return ".".join((header, urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("="), signature))


async def edit_checkpoint(scene: Scene) -> None:
    (row,) = await scene.ledger.query("SELECT text FROM checkpoints WHERE number = 2")
    await scene.ledger.execute(f"UPDATE checkpoints SET text = '{edited(row[0], heads=[])}' WHERE number = 2")  # noqa: S608


async def forge_checkpoint(scene: Scene) -> None:
    """Signed anew without the other chain's head, by a key that is nobody's."""
    (row,) = await scene.ledger.query("SELECT text FROM checkpoints WHERE number = 2")
    kid, key = await scene.ledger.keys.checkpoint_key()
    checkpoint = read_checkpoint(row[0], {kid: key})
    forged = sign_checkpoint(checkpoint, kid, ECKey.generate_key("P-256"))
    await scene.ledger.execute(f"UPDATE checkpoints SET text = '{forged}' WHERE number = 2")  # noqa: S608


async def forge_with_a_key_of_ones_own(scene: Scene) -> None:
    """The same, with the forger's public half put beside the sealed one."""
    forger = ECKey.generate_key("P-256")
    public = json.dumps({**forger.as_dict(private=False), "alg": "ES256"})
    await scene.ledger.execute(f"UPDATE audit_keys SET public_jwk = '{public}' WHERE purpose = 'checkpoint'")  # noqa: S608


TAMPERINGS: dict[str, tuple[Tampering, str, str]] = {
    "a record deleted": (
        sql("DELETE FROM decision_records WHERE id = '{id3}'"),
        "record missing",
        "record {id4}, at 4 of chain {writer}, follows where 3 should be",
    ),
    "the first record deleted": (
        sql("DELETE FROM decision_records WHERE id = '{id1}'"),
        "record missing",
        "record {id2}, at 2 of chain {writer}, follows where 1 should be",
    ),
    "two records deleted": (
        sql("DELETE FROM decision_records WHERE id IN ('{id3}', '{id4}')"),
        "record missing",
        "record {id5}, at 5 of chain {writer}, follows where 3 to 4 should be",
    ),
    "two records exchanged": (
        swap_sequences,
        "record missing",
        "record {id2}, at 3 of chain {writer}, follows where 2 should be",
    ),
    "a record moved into another chain": (
        sql("UPDATE decision_records SET writer = '{other}' WHERE id = '{id6}'"),
        "record misplaced",
        "record {id6}, at 6 of chain {other}, comes after 6",
    ),
    "a record counted again": (
        sql("UPDATE decision_records SET sequence = 2 WHERE id = '{id3}'"),
        "record misplaced",
        "record {id3}, at 2 of chain {writer}, comes after 2",
    ),
    "the end cut off before a checkpoint": (
        sql("DELETE FROM decision_records WHERE id = '{id6}'"),
        "end of a chain missing",
        "chain {writer} ends with 5: 1 more, as checkpoint 2 told, are missing",
    ),
    "the end cut off and the chain's own word taken back": (
        sql(
            "DELETE FROM decision_records WHERE id = '{id6}';"
            "UPDATE record_chains SET sequence = 5, mac = (SELECT mac FROM decision_records WHERE id = '{id5}') "
            "WHERE writer = '{writer}'"
        ),
        "chain changed",
        "chain {writer} claims to end with 5, not with 6",
    ),
    "all records of a chain removed": (
        sql("DELETE FROM decision_records WHERE writer = '{writer}'"),
        "end of a chain missing",
        "chain {writer} ends with 0: 6 more, as checkpoint 2 told, are missing",
    ),
    "a chain removed with its row": (
        sql(
            "DELETE FROM decision_records WHERE writer = '{writer}'; DELETE FROM record_chains WHERE writer = '{writer}'"
        ),
        "chain removed",
        "chain {writer} is not among the chains, and checkpoint 2 saw 6 records of it",
    ),
    "only the row of a chain removed": (
        sql("DELETE FROM record_chains WHERE writer = '{writer}'"),
        "chain removed",
        "chain {writer} is not among the chains, and checkpoint 2 saw 6 records of it",
    ),
    "a chain recomputed without its key": (
        recompute,
        "record changed",
        "record {id3}, at 3 of chain {writer}, is not what was recorded",
    ),
    "a whole chain recomputed without its key": (
        recompute_from_the_start,
        "record changed",
        "record {id1}, at 1 of chain {writer}, is not what was recorded",
    ),
    "a chain made up": (make_up_a_chain, "chain unknown", "belongs to a chain that nobody began"),
    "a key exchanged": (
        sql("UPDATE audit_keys SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE purpose = 'chain'"),
        "key unusable",
        "of the record does not open, or is another one",
    ),
    "a checkpoint edited": (edit_checkpoint, "checkpoint changed", "checkpoint 2 is not what was signed"),
    "a checkpoint forged": (forge_checkpoint, "checkpoint changed", "checkpoint 2 is not what was signed"),
    "a public key exchanged": (
        forge_with_a_key_of_ones_own,
        "key unusable",
        "of the record does not open, or is another one",
    ),
    "the first checkpoint removed": (
        sql("DELETE FROM checkpoints WHERE number = 1"),
        "checkpoint missing",
        "checkpoint 1 is missing",
    ),
    "the newest checkpoint removed": (
        sql("DELETE FROM checkpoints WHERE number = 2"),
        "checkpoint missing",
        "was stated as far as 6, in a checkpoint that is not there",
    ),
    "every checkpoint removed": (
        sql("DELETE FROM checkpoints"),
        "checkpoint missing",
        "was stated as far as 6, in a checkpoint that is not there",
    ),
    "a checkpoint in the place of another": (
        sql("UPDATE checkpoints SET text = (SELECT text FROM checkpoints WHERE number = 1) WHERE number = 2"),
        "checkpoint changed",
        "checkpoint 2 is in the place of another: it was signed as 1",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_every_tampering_is_named_at_its_first_place(scene: Scene, what: str) -> None:
    tamper, kind, place = TAMPERINGS[what]
    await tamper(scene)
    ids = {f"id{number}": row.record.id for number, row in enumerate(scene.rows, 1)}
    said = await scene.ledger.says()
    wanted = place.format(writer=scene.writer.writer, other=scene.other, **ids)
    assert any(each == kind and wanted in sentence for each, sentence in said), said
    places = [sentence for _, sentence in said]
    assert len(places) == len(set(places))


async def test_a_record_set_back_as_a_whole_is_noticed_by_what_the_log_told(scene: Scene) -> None:
    """The newest checkpoint and all that came after the one before are gone, and whatever could remember it says otherwise."""
    events = scene.ledger.world.seen(CheckpointSigned)
    told = {event.number: bytes.fromhex(event.digest) for event in events}
    assert (await scene.ledger.verify(witnesses=Witnesses(checkpoints=told))).faults.told == []
    await scene.ledger.execute(
        """
        DELETE FROM checkpoints WHERE number = 2;
        DELETE FROM decision_records WHERE sequence > 3;
        UPDATE record_chains c SET sequence = 3, stated_sequence = 3, ended = false, mac = d.mac
        FROM decision_records d WHERE d.writer = c.writer AND d.sequence = 3
        """
    )
    assert await scene.ledger.says() == []
    noticed = await scene.ledger.verify(witnesses=Witnesses(checkpoints=told))
    assert [fault.says for fault in noticed.faults.told] == ["checkpoint 2 is missing: the newest is 1"]
    await scene.writer.write(1, scene.ledger.world.clock.now())
    await scene.ledger.attest()
    noticed = await scene.ledger.verify(witnesses=Witnesses(checkpoints=told))
    assert "checkpoint 2 is not the one that was signed under this number at the time" in {
        fault.says for fault in noticed.faults.told
    }
