"""What the queries of record lists may say, as models: every fault of one is told at once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from issuer.model.faults import Cause, Fault, Reason, causes_of
from issuer.model.kinds import Kind
from issuer.model.metadata import is_dns_subdomain
from issuer.model.times import parse_time
from issuer.store.partitions import first_id_at

Pairs: TypeAlias = Sequence[tuple[str, str]]
"""A query as it stands in a URL."""
WINDOW = timedelta(hours=24)
"""How far back a list goes that does not say where it begins."""
_Query = TypeVar("_Query", bound=BaseModel)


def _possible_name(name: str) -> str:
    if not is_dns_subdomain(name):
        raise PydanticCustomError("name", "must be a name that an object can have")
    return name


def _storable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain NUL")
    return text


ObjectName = Annotated[str, AfterValidator(_possible_name)]
Text = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_storable)]


def _instant(text: Any) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise PydanticCustomError("time", "{why}", {"why": str(error)}) from None


def _possible(instant: datetime) -> datetime:
    """Within what an id can begin with."""
    try:
        first_id_at(instant)
    except (ValueError, OverflowError):
        raise PydanticCustomError("time", "is no time of a record") from None
    return instant


Instant = Annotated[datetime, BeforeValidator(lambda text: _possible(_instant(text)))]


class Stretch(BaseModel):
    """A query about a stretch of time, which is never unbounded."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    from_: Instant | None = Field(default=None, alias="from")
    until: Instant | None = None

    @model_validator(mode="after")
    def _begins_before_its_end(self) -> "Stretch":
        if self.from_ is not None and self.until is not None and self.from_ >= self.until:
            raise PydanticCustomError("stretch", "from must be before until")
        return self

    def begin(self, now: datetime) -> datetime:
        """Where it begins: WINDOW before its end when nothing else was said."""
        return self.from_ or (self.until or now) - WINDOW


def parse_query(model: type[_Query], kind: Kind, query: Pairs) -> _Query:
    """The query as the model has it. Raises Fault (400): for what is not in it, or cannot be, or stands there twice."""
    names = [name for name, _ in query]
    causes = [
        Cause(name, "FieldValueDuplicate", "stands there twice")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    try:
        parsed = model.model_validate(dict(query))
    except ValidationError as error:
        causes += causes_of(error)
    else:
        if not causes:
            return parsed
    said = "; ".join(f"{cause.field}: {cause.message}" for cause in causes)
    raise Fault(Reason.BAD_REQUEST, f"the query cannot be used: {said}", kind=kind.kind, causes=causes)
