"""THE PAGE: a token request from top to bottom.

    wire ─▶ parse ─▶ read_credential ─▶ account ─▶ verify ─▶ standing ─▶ decide ─▶ prepare ─▶ sign ─▶ record ─▶ answer
            pure     pure               memory     pure      pure        pure      pure       µs      commit    pure
                                          │          │
                                          └──────────┴─▶ settle: what memory alone cannot answer; reads, waits, throttles

The snapshot is read once, at the top, and once more when something had to be waited for; from then on only values travel.
A token is answered with when its record is durable, and not before; the requests beside it share that.
Whatever goes wrong on the way is one `Refusal`, caught once, at the bottom: the client reads its public side, the event
carries the cause; an account's is recorded, too, and nobody waits for that. Authentication comes before any question about
the account, so that a stranger learns nothing from the order of answers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from issuer.directory import Directory
from issuer.events import Caller, Emit, RetiredSecretPresented, TokenIssued, TokenRefused
from issuer.failures import Failure, Refusal
from issuer.model.keyset import DEFAULT_KEYSET, ID_TOKEN_KEYSET
from issuer.model.resource import is_client_id
from issuer.policy.catalogue import OPENID
from issuer.policy.decide import Allowed, Decision, Denied, decide, is_refused_method
from issuer.policy.governed import Governed
from issuer.protocol.authentication import METHODS, read_credential
from issuer.protocol.authentication.method import Evidence, Presented, Proof
from issuer.protocol.grants import TokenAsk, find_grant
from issuer.protocol.request import WireRequest, parse_token_request
from issuer.protocol.response import Answer, refusal_answer, token_answer
from issuer.protocol.source import network_of
from issuer.ratelimit import FailureRates, NoPlace, Places, Rates
from issuer.signing.ticket import TokenIdentity, prepare_access_token, prepare_id_token
from issuer.snapshot import Account, Answered, Known, Snapshot
from issuer.sources import Sources
from issuer.store.database import DatabaseUnavailable

MAX_PATIENT = 2_048
MAX_PATIENT_OF_A_SOURCE = 256
MAX_ASKED_BYTES = 1_024
"""A longer request is decided anew each time: what an account asked for last is kept for every account in memory."""


def _patience() -> Places:
    return Places(MAX_PATIENT, MAX_PATIENT_OF_A_SOURCE)


@dataclass(frozen=True, slots=True)
class Issuance:
    """What the page stands on. `snapshot` gives the current one, None before the first good one.

    `hasten` looks for a newer one at once, `next_look` waits for the next poll and raises DatabaseUnavailable when that fails.
    `record` ends when the token's record is durable, and raises Refusal (503) when it cannot be; `note` records a refusal
    without waiting, of an account as it is, of strangers as a number.
    `failures` throttles failed authentication; `patience` is the room for those who wait for a poll.
    """

    issuer: str
    snapshot: Callable[[], Snapshot | None]
    directory: Directory
    sources: Sources
    emit: Emit
    record: Callable[[TokenIssued], Awaitable[None]]
    note: Callable[[TokenRefused], None]
    rates: Rates
    note_first_use: Callable[[str, int], None]
    hasten: Callable[[], Awaitable[None]]
    next_look: Callable[[], Awaitable[None]]
    failures: FailureRates = field(default_factory=FailureRates)
    patience: Places = field(default_factory=_patience)


@dataclass(slots=True)
class _Reached:
    """How far a request has come: what can be told of it when it is refused."""

    presented: Presented | None = None
    caller: Caller | None = None
    governed: Governed | None = None
    ask: TokenAsk | None = None


async def answer_token_request(issuance: Issuance, wire: WireRequest) -> Answer:
    """The answer to a token request, whatever it is. Never raises for anything a client can send."""
    reached = _Reached()
    try:
        snapshot, now = _present(issuance)
        request = parse_token_request(wire)
        grant_type = find_grant(request)
        reached.presented = presented = read_credential(request)
        account = issuance.directory.recall(presented.client_id)
        proof = _verify(presented, account, snapshot, now) if account is not None else None
        if account is None or proof is None or proof.retired:
            account, proof = await _settle(issuance, presented, account, proof, wire.source)
            snapshot, now = _present(issuance)
        if account.resource.namespace not in snapshot.governance.policies.namespace_labels:
            snapshot = await _knowing_its_namespace(issuance, account)
        known = account.under(snapshot.governance)
        reached.caller = caller = _caller(account, presented, proof, wire)
        reached.governed = governed = known.governed
        _check_standing(known, snapshot, now)
        question = (grant_type.name, request.parameters.get("scope"), request.targets, presented.method)
        decision: Decision
        if account.answered is not None and account.answered.question == question:
            reached.ask, decision = account.answered.ask, account.answered.allowed
        else:
            reached.ask = grant_type.parse_ask(request)
            decision = decide(governed, reached.ask, presented.method, snapshot.governance.catalogue, now)
            if (
                isinstance(decision, Allowed)
                and governed.grant.expires_at is None
                and len(wire.body) <= MAX_ASKED_BYTES
            ):
                account.answered = Answered(question, reached.ask, decision)
        if proof.pending and not is_refused_method(decision):
            issuance.note_first_use(presented.client_id, proof.version)
        if isinstance(decision, Denied):
            raise Refusal(decision.failure, _why(decision))
        _check_rate(issuance, known)
        issued, answer = _issue(issuance, snapshot, decision, caller, reached.ask, int(now))
        await issuance.record(issued)
    except Refusal as refusal:
        return _refuse(issuance, refusal, reached, wire.source)
    except DatabaseUnavailable as error:
        return _refuse(issuance, Refusal(Failure.DATABASE_UNAVAILABLE, str(error)), reached, wire.source)
    issuance.emit(issued)
    return answer


def _present(issuance: Issuance) -> tuple[Snapshot, float]:
    """The world and the instant, as they are now. Raises Refusal (503)."""
    snapshot = issuance.snapshot()
    if snapshot is None:
        raise Refusal(Failure.NOT_READY)
    return snapshot, issuance.sources.now().timestamp()


def _verify(presented: Presented, account: Account | None, snapshot: Snapshot, now: float) -> Proof | None:
    """The proof that the caller is the account; for nobody the same effort and None."""
    secrets = account.under(snapshot.governance).secrets if account is not None else ()
    return METHODS[presented.method].verify(presented, Evidence(secrets, snapshot.peppers), now)


async def _settle(
    issuance: Issuance, presented: Presented, account: Account | None, proof: Proof | None, source: str
) -> tuple[Account, Proof]:
    """The account and the proof that it is the caller, where `account` and `proof` from memory are none. Raises Refusal.

    401 is said only when the database was looked at after the question came: by a read of this account, at most one a
    second, or else by the next poll, for which no more wait than may still fail where somebody failed lately. An unknown
    client costs what a wrong secret costs: the same HMACs, queries and waiting, and the same rates beyond which all of that
    is saved and the answer is 429. A correct credential is never throttled.
    """
    network = network_of(source)
    fresh = False
    if account is None:
        account, fresh = await issuance.directory.look_up(presented.client_id, network)
        proof = _verify(presented, account, *_present(issuance))
    if proof is None:
        _require_rate(issuance.failures.wait_s, issuance, presented, network)
        if not fresh:
            account = await _newest(issuance, presented.client_id, network)
        # Also when nothing new was read: a stranger and a wrong secret must cost the same.
        proof = _verify(presented, account, *_present(issuance))
    if account is not None and proof is not None and not proof.retired:
        return account, proof
    _require_rate(issuance.failures.admit, issuance, presented, network)
    if account is None:
        raise Refusal(Failure.CLIENT_UNKNOWN)
    if proof is None:
        raise Refusal(Failure.SECRET_WRONG)
    issuance.emit(RetiredSecretPresented(presented.client_id, proof.version, source))
    raise Refusal(Failure.SECRET_RETIRED, proof.credential)


async def _newest(issuance: Issuance, client_id: str, network: str) -> Account | None:
    """The account as the database has it after this call. Raises Refusal (429), DatabaseUnavailable."""
    account, fresh = await issuance.directory.reread(client_id, network)
    if fresh:
        return account
    now = issuance.sources.elapsed_s()
    try:
        with issuance.patience.place(network), issuance.failures.expected(client_id, network, now):
            await issuance.next_look()
    except NoPlace:
        raise Refusal(Failure.TOO_MANY_FAILURES, "too many wait for the next poll", retry_after_s=1) from None
    # Unless the poll saw a write of it, it is where it was, and this is no query.
    return (await issuance.directory.look_up(client_id, network)).account


def _require_rate(
    rate: Callable[[str, str, float], int | None], issuance: Issuance, presented: Presented, network: str
) -> None:
    """Raises Refusal (429) where authentication failed too often."""
    # Ids of another shape are as long and as many as their senders like: together they are one.
    client_id = presented.client_id if is_client_id(presented.client_id) else ""
    wait_s = rate(client_id, network, issuance.sources.elapsed_s())
    if wait_s is not None:
        raise Refusal(Failure.TOO_MANY_FAILURES, retry_after_s=wait_s)


async def _knowing_its_namespace(issuance: Issuance, account: Account) -> Snapshot:
    """A snapshot that knows the account's namespace, and so every ceiling over it. Raises Refusal (503).

    An account made on another replica a moment ago is read from the database before the poll has brought its namespace.
    """
    await issuance.hasten()
    newer = issuance.snapshot()
    if newer is None or account.resource.namespace not in newer.governance.policies.namespace_labels:
        raise Refusal(Failure.NOT_READY, "the namespace is not known here yet")
    return newer


def _check_standing(account: Known, snapshot: Snapshot, now: float) -> None:
    """Whether an authenticated account may have tokens at all. Raises Refusal, to the client the same as a wrong secret."""
    if account.terminating:
        raise Refusal(Failure.ACCOUNT_TERMINATING)
    grant = account.governed.grant
    if grant.namespace in snapshot.terminating:
        raise Refusal(Failure.NAMESPACE_TERMINATING)
    if account.disabled:
        raise Refusal(Failure.ACCOUNT_DISABLED)
    if grant.expires_at is not None and grant.expires_at <= now:
        raise Refusal(Failure.ACCOUNT_EXPIRED)


def _check_rate(issuance: Issuance, account: Known) -> None:
    """Raises Refusal (429) beyond `maxTokensPerMinute`. Last before the signature: what is refused anyway does not count."""
    rate = account.governed.rate
    if rate is None:
        return
    wait_s = issuance.rates.admit(account.governed.grant.client_id, rate.value, issuance.sources.elapsed_s())
    if wait_s is not None:
        raise Refusal(Failure.TOO_MANY_TOKENS, f"more than {rate.value} a minute", retry_after_s=wait_s)


def _why(denied: Denied) -> str:
    """The cause with the policies behind it, for the record."""
    by = ", ".join(f"{each.policy} {each.field}" for each in denied.by)
    return f"{denied.why} ({by})" if by else denied.why


def _caller(account: Account, presented: Presented, proof: Proof, wire: WireRequest) -> Caller:
    resource = account.resource
    return Caller(
        uid=resource.uid,
        namespace=resource.namespace,
        name=resource.name,
        revision=resource.revision,
        method=presented.method,
        credential=proof.credential,
        source=wire.source,
        trace_id=wire.trace_id,
    )


def _issue(
    issuance: Issuance, snapshot: Snapshot, allowed: Allowed, caller: Caller, ask: TokenAsk, issued_at: int
) -> tuple[TokenIssued, Answer]:
    """The token in its answer, which must not leave before what it says is on record. Raises Refusal (503)."""
    keyset = snapshot.keyset_by_audience.get(allowed.audience, DEFAULT_KEYSET)
    signer = snapshot.signers.get(keyset)
    if signer is None:
        raise Refusal(Failure.NOT_READY, f"KeySet {keyset} has no active key")
    identity = TokenIdentity(issuance.issuer, issuance.sources.token_id(), issued_at, caller.credential)
    access_token = signer.sign(prepare_access_token(allowed, identity))
    id_token = None
    if OPENID in allowed.scopes:
        id_signer = snapshot.signers.get(ID_TOKEN_KEYSET)
        if id_signer is None:
            raise Refusal(Failure.NOT_READY, f"KeySet {ID_TOKEN_KEYSET} has no active key")
        id_token = id_signer.sign(prepare_id_token(allowed, identity))
    scope = " ".join(allowed.scopes)
    issued = TokenIssued(
        caller=caller,
        requested_scope=" ".join(ask.scopes) if ask.scopes is not None else None,
        requested_audience=ask.resource,
        scope=scope,
        audience=allowed.audience,
        ttl_s=allowed.ttl_s,
        jti=identity.jti,
        kid=signer.kid,
        policies=allowed.governed.recorded,
    )
    return issued, token_answer(access_token, allowed.ttl_s, scope, id_token)


_BEFORE_IT_IS_KNOWN = frozenset(
    {Failure.CLIENT_UNKNOWN, Failure.TOO_MANY_FAILURES, Failure.DATABASE_UNAVAILABLE, Failure.NOT_READY}
)


def _refuse(issuance: Issuance, refusal: Refusal, reached: _Reached, source: str) -> Answer:
    failure, presented = refusal.failure, reached.presented
    client_id = presented.client_id if presented is not None else None
    if client_id is not None and failure in _BEFORE_IT_IS_KNOWN and issuance.directory.recall(client_id) is None:
        # A stranger's client_id may be anything, a secret pasted into the wrong field included: only ours are repeated.
        client_id = None
    refused = TokenRefused(failure.name.lower(), refusal.detail, client_id, source)
    if reached.caller is not None and reached.governed is not None:
        refused = _about_its_caller(refused, reached.caller, reached.governed, reached.ask)
    issuance.note(refused)
    issuance.emit(refused)
    return refusal_answer(failure, refusal.retry_after_s)


_NOT_ITS_OWN = "?"


def _about_its_caller(refused: TokenRefused, caller: Caller, governed: Governed, ask: TokenAsk | None) -> TokenRefused:
    """The refusal of an authenticated account. What it asked for and does not hold is not repeated: it may be anything."""
    scope = audience = None
    if ask is not None and ask.scopes is not None:
        held = governed.grant.scopes
        scope = " ".join(each if each in held else _NOT_ITS_OWN for each in ask.scopes)
    if ask is not None and ask.resource is not None:
        audience = ask.resource if ask.resource in governed.grant.audiences else _NOT_ITS_OWN
    return replace(
        refused, caller=caller, requested_scope=scope, requested_audience=audience, policies=governed.recorded
    )
