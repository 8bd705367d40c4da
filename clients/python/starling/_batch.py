"""Batches: several keys that change in one commit, or none of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._check import check_key, check_text, check_time_to_live, shown, to_json
from ._check_options import to_object
from ._errors import StarlingError

#: How many writes a batch may have, and how many requirements (protocol/README.md).
_MAXIMUM_MEMBERS = 256
_WRITE_FIELDS = {"key", "value", "ttl", "metadata", "session", "expect", "delete"}
_DELETE_FIELDS = {"key", "delete", "metadata", "session", "expect"}
_RELEASE_FIELDS = {"key", "release"}
_REQUIRE_FIELDS = {"key", "version", "fence"}


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch: all of it was applied, or nothing."""

    applied: bool
    #: The revisions of its first and its last write; those between them are its others, in their order.
    first: int | None = None
    last: int | None = None
    #: The version of each write, in their order.
    versions: Sequence[str] = ()
    #: How much was required and met: requirements, expectations and releases.
    judged: int = 0
    #: What could not be met: ``write`` or ``require`` is its index, ``reason`` one of ``condition``, ``held``, ``stale_fence`` and
    #: ``too_many_keys``, and ``current`` the register in place, as the server sends it, or None.
    failed: Sequence[dict[str, Any]] = field(default_factory=list)


def outcome_of(answer: dict[str, Any]) -> BatchOutcome:
    return BatchOutcome(
        applied=answer["applied"],
        first=answer.get("first"),
        last=answer.get("last"),
        versions=answer.get("versions", ()),
        judged=answer.get("judged", 0),
        failed=answer.get("failed", []),
    )


def pack_batch(writes: Any, require: Any, op: str) -> dict[str, Any]:
    """A batch as it is sent, as it is now: the caller may change its values before it is.

    :raises StarlingError: ``bad_key``, ``bad_value``, ``bad_option``
    """
    check_text("op", op, 128)
    keys: set[str] = set()
    required: set[str] = set()
    return {
        "type": "batch",
        "op": op,
        "require": _pack("require", require, 0, lambda one: _pack_requirement(one, required)),
        "writes": _pack("writes", writes, 1, lambda write: _pack_write(write, keys)),
    }


def _pack(name: str, values: Any, least: int, pack: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not least <= len(values) <= _MAXIMUM_MEMBERS:
        raise StarlingError("bad_option", f"{name} is no list of {least} to {_MAXIMUM_MEMBERS}: {shown(values)}")
    packed = []
    for index, value in enumerate(values):
        try:
            if not isinstance(value, Mapping):
                raise StarlingError("bad_option", f"{shown(value)} is no dictionary")
            packed.append(pack(value))
        except StarlingError as error:
            raise StarlingError(error.code, f"{name}[{index}]: {error}", error.details) from None
    return packed


def _pack_write(write: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    is_release = write.get("release") is not None
    is_delete = not is_release and write.get("delete") is True
    _check_fields(write, _RELEASE_FIELDS if is_release else _DELETE_FIELDS if is_delete else _WRITE_FIELDS)
    packed: dict[str, Any] = {"key": _check_once(write.get("key"), keys)}
    if is_release:
        return {**packed, "release": _check_fence("release", write["release"])}
    check_text("session", write.get("session"), 128)
    if write.get("session") is not None:
        packed["session"] = write["session"]
    if write.get("metadata") is not None:
        packed["metadata"] = json.loads(to_json(to_object(write["metadata"], "metadata"), "metadata"))
    if "expect" in write:
        packed["expect"] = _check_version("expect", write["expect"])
    if is_delete:
        return {**packed, "delete": True}
    if "value" not in write:
        raise StarlingError("bad_value", 'it needs "value", "delete": True or "release"')
    check_time_to_live(write.get("ttl"))
    if write.get("ttl") is not None:
        packed["ttl"] = write["ttl"]
    return {**packed, "value": json.loads(to_json(write["value"], f"the value of {packed['key']!r}"))}


def _pack_requirement(one: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    _check_fields(one, _REQUIRE_FIELDS)
    key = _check_once(one.get("key"), keys)
    if ("version" in one) == (one.get("fence") is not None):
        raise StarlingError("bad_option", 'it has either "version" (None: absent) or "fence" of a claim')
    if "version" in one:
        return {"key": key, "version": _check_version("version", one["version"])}
    return {"key": key, "fence": _check_fence("fence", one["fence"])}


def _check_fields(fields: Mapping[str, Any], known: set[str]) -> None:
    for name in fields:
        if name not in known:
            raise StarlingError("bad_option", f"there is no field {name!r} here; there are {', '.join(sorted(known))}")


def _check_once(key: Any, keys: set[str]) -> str:
    check_key(key)
    if key in keys:
        raise StarlingError("bad_option", f"{key!r} stands twice")
    keys.add(key)
    return str(key)


def _check_version(name: str, version: Any) -> str | None:
    if version is not None and not isinstance(version, str):
        raise StarlingError("bad_value", f"{name} is {shown(version)}; it is a version, or None for absent")
    return version


def _check_fence(name: str, fence: Any) -> int:
    if not isinstance(fence, int) or isinstance(fence, bool) or fence <= 0:
        raise StarlingError("bad_value", f"{name} is {shown(fence)}; it is the fence of a claim, a whole number: lease.fence")
    return fence
