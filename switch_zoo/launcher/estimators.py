"""Who makes the Estimators of a run: the released code, or another runtime."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

_Factory = Callable[..., Any]
_FACTORY: contextvars.ContextVar[_Factory | None] = contextvars.ContextVar('switch_zoo_estimators', default=None)


@contextlib.contextmanager
def made_by(factory: _Factory) -> Iterator[None]:
  """Within, `mesh_utils.get_estimator` calls this function, with its arguments by name."""
  token = _FACTORY.set(factory)
  try:
    yield
  finally:
    _FACTORY.reset(token)


def chosen(released: _Factory) -> _Factory:
  """`mesh_utils.get_estimator` that asks the factory of the run, where there is one."""

  @functools.wraps(released)
  def get(*args: Any, **kwargs: Any) -> Any:
    return (_FACTORY.get() or released)(*args, **kwargs)

  return get
