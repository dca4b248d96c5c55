"""What became of one object; in a dry run what would, and for a policy to whom: a count, and how some accounts would fare."""

from collections.abc import Iterator, Mapping
from typing import Any

from issuer.cli.named import Named

_PARTS = ("scope", "audience", "accessTokenTTL", "maxTokensPerMinute", "claims")


def say(named: Named, done: str, document: Mapping[str, Any], *, dry_run: bool) -> None:
    """One line for one object; for a policy that is only tried also what it would do."""
    status = document.get("status")  # of a deletion that is done: the word Success
    effect = status.get("effect") if dry_run and isinstance(status, dict) else None
    print(f"{named} {'would be ' if dry_run else ''}{done}{named.place}{': ' + _in_short(effect) if effect else ''}")
    for line in _examples(effect) if effect else ():
        print(f"  {line}")


def _in_short(effect: Mapping[str, Any]) -> str:
    """`12 accounts in reach, 3 narrowed, 1 refused`."""
    parts = [f"{effect['accounts']} account{'' if effect['accounts'] == 1 else 's'} in reach"]
    parts += [f"{effect[kind]} {kind}" for kind in ("narrowed", "refused", "widened") if effect[kind]]
    return ", ".join(parts) + ("" if effect["complete"] else " (of those looked at: there are too many)")


def _examples(effect: Mapping[str, Any]) -> Iterator[str]:
    """`payments-prod/payment-service: accessTokenTTL 1h → 15m`."""
    for example in effect["examples"]:
        before, after = example["before"], example["after"]
        if "refused" in after:
            said = f"refused ({after['refused']})"
        elif "refused" in before:
            said = "no longer refused"
        else:
            changed = [part for part in _PARTS if before.get(part) != after.get(part)]
            said = ", ".join(f"{part} {_text(before.get(part))} → {_text(after.get(part))}" for part in changed)
        yield f"{example['namespace']}/{example['name']}: {said}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}={each}" for name, each in value.items()) + "}"
    return str(value) if value not in {None, ""} else "none"
