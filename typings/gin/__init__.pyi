"""The types of the part of gin that decorates switch_zoo's functions. gin has none; what is not named here is Any."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

_Configurable = TypeVar('_Configurable', bound=Callable[..., Any])

REQUIRED: Any

@overload
def configurable(name_or_fn: _Configurable) -> _Configurable: ...
@overload
def configurable(
  name_or_fn: str | None = None,
  module: str | None = None,
  allowlist: Sequence[str] | None = None,
  denylist: Sequence[str] | None = None,
) -> Callable[[_Configurable], _Configurable]: ...
def __getattr__(name: str) -> Any: ...
