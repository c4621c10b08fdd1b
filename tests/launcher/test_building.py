"""The graph that is built in less time is the same: operations, names and results."""

import gc
import types

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import building


def operations(parallel, devices):
  """(name, type, device) of what two calls make, and the results."""
  with tf.Graph().as_default(), tf.Session() as session:
    first = parallel(
      devices, lambda x, y: x + y, [tf.constant(1.0)] * len(devices), y=[tf.constant(2.0)] * len(devices)
    )
    second = parallel(devices, lambda x: x * 3.0, first)
    names = [(op.name, op.type, op.device) for op in tf.get_default_graph().get_operations()]
    return names, session.run(second)


def test_one_device_gives_what_the_released_function_gives():
  released = operations(mtf.parallel, ['/cpu:0'])
  assert operations(building.in_name_scopes(mtf.parallel), ['/cpu:0']) == released
  np.testing.assert_equal(released[1], [9.0])


def test_two_devices_are_left_to_the_released_function():
  assert operations(building.in_name_scopes(mtf.parallel), ['', '']) == operations(mtf.parallel, ['', ''])


@pytest.mark.parametrize(('use_tpu', 'pruned'), [(None, True), ('a-tpu', False)])
def test_sessions_on_a_host_prepare_what_they_run(use_tpu, pruned):
  config = tf.ConfigProto()
  released = lambda **kwargs: types.SimpleNamespace(_session_config=config)
  building.with_pruned_graphs(released)(use_tpu=use_tpu)
  assert config.graph_options.place_pruned_graph == pruned


def test_collections_are_back_after_the_first_step():
  states = []
  gc.disable()
  try:
    value = tf.constant(1.0)
    with tf.train.MonitoredSession(hooks=[building.CollectionsAfterFirstStep()]) as session:
      for _ in range(2):
        states.append(gc.isenabled())
        session.run(value)
    assert states == [False, True]
  finally:
    gc.enable()
