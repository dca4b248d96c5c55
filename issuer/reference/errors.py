"""What errors mean: every `reason` of a Status, and every `reason` of its causes."""

from collections.abc import Mapping

from issuer.model.faults import Reason

MEANINGS: Mapping[Reason, str] = {
    Reason.BAD_REQUEST: "The request cannot be read, or asks for what makes no sense here.",
    Reason.UNAUTHORIZED: "There is no token, or it is not good (any more): get a new one.",
    Reason.FORBIDDEN: "The token lacks the scope that the message names, or nobody may do this.",
    Reason.NOT_FOUND: "The object, or the namespace it would be in, does not exist.",
    Reason.METHOD_NOT_ALLOWED: "The path exists, and cannot do this; `Allow` says what it can.",
    Reason.ALREADY_EXISTS: "Another object of the kind has the name.",
    Reason.CONFLICT: "Somebody was faster, another driver manages the object, or it is in no state for this: read it again.",
    Reason.EXPIRED: "The revision is not kept any more: list again, and go on from there.",
    Reason.TOO_LARGE: "The body, or the object it would make, is too large.",
    Reason.UNSUPPORTED_MEDIA_TYPE: "The body is of a type that is not read here; the message says which are.",
    Reason.INVALID: "The object has faults; `details.causes` names every one.",
    Reason.TOO_MANY_REQUESTS: "Too many watches are open.",
    Reason.INTERNAL_ERROR: "An error of the issuer's own; it is in its log.",
    Reason.SERVICE_UNAVAILABLE: "The issuer starts or stops, or its database does not answer: try again after `Retry-After`.",
}

CAUSES: Mapping[str, str] = {
    "FieldValueRequired": "The field is missing.",
    "FieldValueInvalid": "The value cannot be what it is.",
    "FieldValueTypeInvalid": "The value is of another type.",
    "FieldValueNotSupported": "The value is none of those there are.",
    "FieldValueForbidden": "The field does not exist, or may not have this value here.",
    "FieldValueDuplicate": "The value must be unique, and is not.",
    "FieldValueTooLong": "The text is too long.",
    "FieldValueTooMany": "There are too many entries.",
    "FieldValueNotFound": "What the value names does not exist.",
}
