"""The closed list of refusals of the token endpoint.

Every row has two sides (the public one is all a client ever learns): the OAuth error code with one fixed public sentence,
and the name of the cause, which goes into the record. The HTTP status of a code is `protocol.response`'s business.
"""

from enum import Enum
from typing import NamedTuple


class FailureRow(NamedTuple):
    """`code`: RFC 6749 section 5.2 or an extension's; `sentence`: what the client reads."""

    code: str
    sentence: str


_CLIENT = "Client authentication failed."


class Failure(Enum):
    """One reason to refuse a token. The member's name is the cause in the record."""

    def __new__(cls, code: str, sentence: str) -> "Failure":
        """Members with equal public sides stay distinct members."""
        member = object.__new__(cls)
        member._value_ = (len(cls.__members__), FailureRow(code, sentence))
        return member

    @property
    def code(self) -> str:
        """The OAuth error code."""
        return self._row.code

    @property
    def sentence(self) -> str:
        """The `error_description`: RFC 6749 section 5.2 characters only."""
        return self._row.sentence

    @property
    def _row(self) -> FailureRow:
        row: FailureRow = self._value_[1]
        return row

    # The request cannot be read.
    METHOD_NOT_POST = "invalid_request", "Use POST."
    CONTENT_TYPE = "invalid_request", "The content type must be application/x-www-form-urlencoded."
    BODY_TOO_LARGE = "invalid_request", "The request body is too large."
    PARAMETER_IN_QUERY = "invalid_request", "Parameters belong in the body, never in the URL."
    PARAMETER_REPEATED = "invalid_request", "A parameter is repeated."
    PARAMETER_ENCODING = "invalid_request", "A parameter is not valid UTF-8 or contains NUL."
    TOO_MANY_PARAMETERS = "invalid_request", "Too many parameters."
    GRANT_TYPE_MISSING = "invalid_request", "grant_type is missing."
    AUTHORIZATION_REPEATED = "invalid_request", "There is more than one Authorization header."
    TWO_MECHANISMS = "invalid_request", "More than one client authentication mechanism was used."
    CLIENT_ID_CONFLICT = "invalid_request", "client_id differs from the authenticated client."
    GRANT_TYPE_UNKNOWN = "unsupported_grant_type", "The grant type is not supported."
    SCOPE_MALFORMED = "invalid_scope", "The scope is malformed."
    RESOURCE_MALFORMED = "invalid_target", "The resource must be one absolute URI without a fragment."
    RESOURCE_REPEATED = "invalid_target", "A token is for one resource only."

    # The client is not who it says, or is nobody.
    NO_CREDENTIAL = "invalid_client", _CLIENT
    CREDENTIAL_MALFORMED = "invalid_client", _CLIENT
    CLIENT_UNKNOWN = "invalid_client", _CLIENT
    SECRET_WRONG = "invalid_client", _CLIENT
    SECRET_RETIRED = "invalid_client", _CLIENT
    METHOD_UNKNOWN = "invalid_client", _CLIENT
    METHOD_NOT_ACCEPTED = "invalid_client", _CLIENT
    ACCOUNT_DISABLED = "invalid_client", _CLIENT
    ACCOUNT_EXPIRED = "invalid_client", _CLIENT
    ACCOUNT_TERMINATING = "invalid_client", _CLIENT
    NAMESPACE_TERMINATING = "invalid_client", _CLIENT
    TOO_MANY_FAILURES = (
        "temporarily_unavailable",
        "Authentication failed too often; check the credential, then try again.",
    )

    # The client is known; this token it does not get.
    CLAIM_MISSING = "unauthorized_client", "No token can be issued to this client."
    SENDER_CONSTRAINT_UNMET = "unauthorized_client", "No token can be issued to this client."
    LIFETIME_TOO_SHORT = "unauthorized_client", "No token can be issued to this client."
    SCOPE_NOT_HELD = "invalid_scope", "The scope exceeds what this client may ask for."
    SCOPE_WITHHELD = "invalid_scope", "None of the requested scopes can be granted."
    TARGET_NOT_HELD = "invalid_target", "The resource is not one this client may ask for."
    TARGET_WITHHELD = "invalid_target", "The resource is not one this client may ask for."
    TOO_MANY_TOKENS = "temporarily_unavailable", "Too many tokens were asked for; keep and reuse them."

    # Our trouble.
    NOT_READY = "temporarily_unavailable", "The server cannot answer now; try again."
    DATABASE_UNAVAILABLE = "temporarily_unavailable", "The server cannot answer now; try again."
    RECORD_NOT_DURABLE = "temporarily_unavailable", "The server cannot answer now; try again."


class Refusal(Exception):
    """The one exception of the token path: caught once, in `issuance`. `detail` is for the record, never for the client.

    `detail` must not quote what the client sent: a secret may have been put into any field by mistake.
    """

    def __init__(self, failure: Failure, detail: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(failure.name, detail)
        self.failure = failure
        self.detail = detail
        self.retry_after_s = retry_after_s
