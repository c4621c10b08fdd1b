"""The routers under all of their names: in gin files, in a ModelConfig, and as scopes of variables."""

from collections.abc import Sequence
from typing import NamedTuple

from switch_zoo.errors import UserError


class RouterSpec(NamedTuple):
  """A router as a ModelConfig describes it.

  name: ModelConfig.router
  kernels: scopes of its kernels
  experts_per_token: how many experts a token is sent to
  parameter: the gin parameter that sets that number, if there is one; `experts_per_token` is its default
  """

  name: str
  kernels: tuple[str, ...]
  experts_per_token: int = 1
  parameter: str = ''


# By the class of our routers. Expert choice gives a token one expert on average at capacity factor 1.
CLASSES = {
  'Top1': RouterSpec('top1', ('switch_gating',)),
  'Top2': RouterSpec('top2', ('top_2_gating',), 2),
  'TopN': RouterSpec('top_n', ('top_n_gating',), 3, 'n'),
  'NoTokenLeftBehind': RouterSpec('no_token_left_behind', ('ntlb_gating',)),
  'ExpertChoice': RouterSpec('expert_choice', ('expert_selection_gating',)),
  'NoisyTopK': RouterSpec('noisy_top_k', ('noisy_top_k_gating', 'noisy_top_k_noise'), 4, 'k'),
}
# By the kind of gating of the released MoE1D layer.
RELEASED = {'switch': CLASSES['Top1'], 'top_2': CLASSES['Top2']}


def class_of(name: str) -> str:
  """The class of the router that a ModelConfig calls `name`.

  >>> class_of('top2')
  'Top2'
  """
  return next(class_name for class_name, router in CLASSES.items() if router.name == name)


def add(class_name: str, kernels: Sequence[str], experts_per_token: int = 1) -> None:
  """Adds a router of the user's own to the table; its module calls this when it is imported.

  Args:
    class_name: of the router
    kernels: scopes of its kernels
    experts_per_token: how many experts a token is sent to
  Raises:
    UserError: the table has another router of that name
  """
  router = RouterSpec(class_name, tuple(kernels), experts_per_token)
  if CLASSES.setdefault(class_name, router) != router:
    raise UserError(f'There is a router {class_name} already. Give yours another name.')
