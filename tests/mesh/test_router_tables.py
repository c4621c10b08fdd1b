"""Routers are named in tables that know nothing of their classes: every router has its entry, and the names agree."""

import importlib
import pkgutil

import mesh_harness
import numpy as np
import pytest
from mesh_tensorflow.transformer import moe

from switch_zoo.checkpoints import anatomy, names
from switch_zoo.mesh import gin_setup, routing
from switch_zoo.mesh.routing.router_base import Router
from switch_zoo.spec import routers
from switch_zoo.spec.sublayers import EXPERTS

# Only models with the routers of the first set have been released in other formats, or without a model file; those of
# the second have names in Mesh-TensorFlow and Keras alone. A new router must be added to one of the two.
IN_OTHER_FORMATS = {'Top1', 'Top2'}
IN_OWN_FORMATS_ONLY = {'TopN', 'NoTokenLeftBehind', 'ExpertChoice', 'NoisyTopK'}


def subclasses(router: type[Router]) -> list[type[Router]]:
  """All classes below `router`, at any depth."""
  return [below for child in router.__subclasses__() for below in (child, *subclasses(child))]


def routers_in_gin() -> dict[str, type[Router]]:
  """Name -> class of every router of the package that a gin file can use."""
  for module in pkgutil.iter_modules(routing.__path__):
    importlib.import_module(f'{routing.__name__}.{module.name}')
  configurables = gin_setup.configurables()
  ours = [router for router in subclasses(Router) if router.__module__.startswith(f'{routing.__name__}.')]
  return {router.__name__: router for router in ours if f'routing.{router.__name__}' in configurables}


def kernels(router: type[Router]) -> tuple[str, ...]:
  """Scopes of the kernels of a router."""
  return tuple(filter(None, (router.kernel_name, router.noise_kernel_name)))


def test_every_router_is_in_the_table_of_the_specification_with_its_kernels():
  assert {name: kernels(router) for name, router in routers_in_gin().items()} == {
    name: entry.kernels for name, entry in routers.CLASSES.items()
  }


def test_names_in_a_model_config_are_unique():
  assert len({entry.name for entry in routers.CLASSES.values()}) == len(routers.CLASSES)


@pytest.mark.parametrize('gating', routers.RELEASED)
def test_released_gatings_have_the_kernels_of_the_released_layer(gating):
  layer = moe.MoE1D(num_experts=4, hidden_size=8, moe_gating=gating)
  case = mesh_harness.Case(np.zeros((2, 4, 8), 'float32'), np.ones((2, 4)))
  variables = mesh_harness.variable_shapes(layer, case, 'MoE1D')
  scopes = {name.removesuffix('/kernel') for name in variables}
  assert scopes - {'wi', 'wo'} == set(routers.RELEASED[gating].kernels)
  assert routers.RELEASED[gating] in routers.CLASSES.values()


def test_every_router_is_known_to_have_other_formats_or_not():
  assert set(routers_in_gin()) == IN_OTHER_FORMATS | IN_OWN_FORMATS_ONLY


def test_the_table_of_names_has_the_kernels_of_the_routers_with_other_formats():
  scopes = {row.mesh.split('/')[-2] for row in names.TABLE if f'/{EXPERTS}/' in row.mesh}
  expected = {kernel for name in IN_OTHER_FORMATS for kernel in kernels(routers_in_gin()[name])}
  assert scopes - {'wi', 'wi_0', 'wi_1', 'wo'} == expected


def test_a_checkpoint_without_a_model_is_recognized_by_the_kernel_of_its_router():
  classes = routers_in_gin()
  expected = {f'{classes[name].kernel_name}/kernel': routers.CLASSES[name].name for name in IN_OTHER_FORMATS}
  assert expected == anatomy.ROUTER_KERNELS
