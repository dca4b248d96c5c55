"""THE PAGE: a token request from top to bottom.

    wire ─▶ parse ─▶ read_credential ─▶ account ─▶ verify ─▶ standing ─▶ decide ─▶ prepare ─▶ sign ─▶ answer
            pure     pure               memory,    pure      pure        pure      pure       µs      pure
                                        1 query

The snapshot is read once, at the top; from then on only values travel. Whatever goes wrong on the way is one `Refusal`,
caught once, at the bottom: the client reads its public side, the event carries the cause. Authentication comes before any
question about the account, so that a stranger learns nothing from the order of answers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from issuer.directory import Directory
from issuer.events import Emit, RetiredSecretPresented, TokenIssued, TokenRefused
from issuer.failures import Failure, Refusal
from issuer.model.keyset import DEFAULT_KEYSET, ID_TOKEN_KEYSET
from issuer.policy.catalogue import OPENID
from issuer.policy.decide import Allowed, Denied, decide, is_refused_method
from issuer.protocol.authentication import METHODS, read_credential
from issuer.protocol.authentication.method import Evidence, Presented, Proof
from issuer.protocol.grants import find_grant
from issuer.protocol.request import WireRequest, parse_token_request
from issuer.protocol.response import Answer, refusal_answer, token_answer
from issuer.ratelimit import TokenRates
from issuer.signing.ticket import TokenIdentity, prepare_access_token, prepare_id_token
from issuer.snapshot import Account, Known, Snapshot
from issuer.sources import Sources
from issuer.store.database import DatabaseUnavailable


@dataclass(frozen=True, slots=True)
class Issuance:
    """What the page stands on. `snapshot` gives the current one, None before the first good one.

    `hasten` looks for a newer one at once.
    """

    issuer: str
    snapshot: Callable[[], Snapshot | None]
    directory: Directory
    sources: Sources
    emit: Emit
    rates: TokenRates
    note_first_use: Callable[[str, int], None]
    hasten: Callable[[], Awaitable[None]]


async def answer_token_request(issuance: Issuance, wire: WireRequest) -> Answer:
    """The answer to a token request, whatever it is. Never raises for anything a client can send."""
    presented: Presented | None = None
    try:
        snapshot = issuance.snapshot()
        if snapshot is None:
            raise Refusal(Failure.NOT_READY)
        now = issuance.sources.now().timestamp()
        request = parse_token_request(wire)
        grant_type = find_grant(request)
        presented = read_credential(request)
        account, proof = await _authenticate(issuance, presented, snapshot, now, wire.source)
        snapshot = await _knowing_its_namespace(issuance, account, snapshot)
        known = account.under(snapshot.governance)
        _check_standing(known, snapshot, now)
        ask = grant_type.parse_ask(request)
        decision = decide(known.governed, ask, presented.method, snapshot.governance.catalogue, now)
        if proof.pending and not is_refused_method(decision):
            issuance.note_first_use(presented.client_id, proof.version)
        if isinstance(decision, Denied):
            raise Refusal(decision.failure, _why(decision))
        _check_rate(issuance, known)
        return _issue(issuance, snapshot, decision, proof, int(now))
    except Refusal as refusal:
        return _refuse(issuance, refusal, presented, wire.source)
    except DatabaseUnavailable as error:
        return _refuse(issuance, Refusal(Failure.DATABASE_UNAVAILABLE, str(error)), presented, wire.source)


async def _authenticate(
    issuance: Issuance, presented: Presented, snapshot: Snapshot, now: float, source: str
) -> tuple[Account, Proof]:
    """The account and the proof that it is the caller. Raises Refusal.

    An unknown client costs what a wrong secret costs: the same HMACs, the same number of queries, the same answer. A
    secret that matches nothing is compared once more with the account as the database has it now.
    """
    verify = METHODS[presented.method].verify
    account = await issuance.directory.account(presented.client_id)
    proof = verify(presented, _evidence(account, snapshot), now)
    if proof is None:
        account = await issuance.directory.reread(presented.client_id)
        # Also when nothing new was read: a stranger and a wrong secret must cost the same.
        proof = verify(presented, _evidence(account, snapshot), now)
    if account is None:
        raise Refusal(Failure.CLIENT_UNKNOWN)
    if proof is None:
        raise Refusal(Failure.SECRET_WRONG)
    if proof.retired:
        issuance.emit(RetiredSecretPresented(presented.client_id, proof.version, source))
        raise Refusal(Failure.SECRET_RETIRED, proof.credential)
    return account, proof


def _evidence(account: Account | None, snapshot: Snapshot) -> Evidence:
    secrets = account.under(snapshot.governance).secrets if account is not None else ()
    return Evidence(secrets, snapshot.peppers)


async def _knowing_its_namespace(issuance: Issuance, account: Account, snapshot: Snapshot) -> Snapshot:
    """A snapshot that knows the account's namespace, and so every ceiling over it. Raises Refusal (503).

    An account made on another replica a moment ago is read from the database before the poll has brought its namespace.
    """
    if account.resource.namespace in snapshot.governance.policies.namespace_labels:
        return snapshot
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


def _issue(issuance: Issuance, snapshot: Snapshot, allowed: Allowed, proof: Proof, issued_at: int) -> Answer:
    keyset = snapshot.keyset_by_audience.get(allowed.audience, DEFAULT_KEYSET)
    signer = snapshot.signers.get(keyset)
    if signer is None:
        raise Refusal(Failure.NOT_READY, f"KeySet {keyset} has no active key")
    identity = TokenIdentity(issuance.issuer, issuance.sources.token_id(), issued_at, proof.credential)
    access_token = signer.sign(prepare_access_token(allowed, identity))
    id_token = None
    if OPENID in allowed.scopes:
        id_signer = snapshot.signers.get(ID_TOKEN_KEYSET)
        if id_signer is None:
            raise Refusal(Failure.NOT_READY, f"KeySet {ID_TOKEN_KEYSET} has no active key")
        id_token = id_signer.sign(prepare_id_token(allowed, identity))
    scope = " ".join(allowed.scopes)
    grant = allowed.governed.grant
    issuance.emit(
        TokenIssued(
            client_id=grant.client_id,
            namespace=grant.namespace,
            name=grant.name,
            credential=proof.credential,
            scope=scope,
            audience=allowed.audience,
            ttl_s=allowed.ttl_s,
            jti=identity.jti,
            kid=signer.kid,
        )
    )
    return token_answer(access_token, allowed.ttl_s, scope, id_token)


def _refuse(issuance: Issuance, refusal: Refusal, presented: Presented | None, source: str) -> Answer:
    failure = refusal.failure
    # A stranger's client_id may be anything, a secret pasted into the wrong field included: only ours are repeated.
    known = presented.client_id if presented is not None and failure is not Failure.CLIENT_UNKNOWN else None
    issuance.emit(TokenRefused(failure.name.lower(), refusal.detail, known, source))
    return refusal_answer(failure, refusal.retry_after_s)
