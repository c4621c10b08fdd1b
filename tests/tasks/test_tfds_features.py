"""Rows of the features that the builders of TensorFlow Datasets declare become examples. No data set is built."""

import types

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

import switch_zoo.tasks  # noqa: F401

TASKS = sorted(
  name
  for name in seqio.TaskRegistry.names()
  if name.startswith('zoo_') and 'c4' not in name and getattr(seqio.TaskRegistry.get(name).source, 'tfds', None)
)


def builder_of(name):
  """'glue/cola:1.0.0' -> class, configuration, version."""
  path, version = name.split(':')
  name, _, config = path.partition('/')
  builder = tfds.builder_cls(name)
  return builder, builder.builder_configs.get(config), version


def declared_features(builder, config, monkeypatch):
  """What the builder declares, without making the builder, which would access the network."""
  keep = lambda builder=None, features=None, **unused: features
  monkeypatch.setattr(tfds.core, 'DatasetInfo', keep)
  return builder._info(types.SimpleNamespace(builder_config=config, dataset_info_from_configs=keep))


def a_value(feature):
  """Some value of a feature: 'text', the first class, two items of a sequence."""
  if isinstance(feature, (tfds.features.FeaturesDict, dict)):
    return {name: a_value(one) for name, one in feature.items()}
  if isinstance(feature, tfds.features.Sequence):
    one = a_value(feature.feature)
    return {name: [value, value] for name, value in one.items()} if isinstance(one, dict) else [one, one]
  if feature.np_dtype == np.float32:
    return 2.5
  return 0 if np.issubdtype(feature.np_dtype, np.integer) else 'text'


@pytest.mark.parametrize('task', TASKS)
def test_a_row_as_declared(task, monkeypatch):
  source = seqio.TaskRegistry.get(task).source
  builder, config, version = builder_of(source.tfds.name)
  versions = (builder.VERSION, *builder.SUPPORTED_VERSIONS)
  versions += (config.version, *config.supported_versions) if config else ()
  assert version in map(str, versions)
  row = a_value(declared_features(builder, config, monkeypatch))
  if 'label' in row:
    row['label'] = 1  # for WSC the right candidate
  for split in source.splits:
    example = next(iter(source.finder.layouts[split][0].rows(source.tfds.record(row))))
    assert 'text' in example['inputs']
    assert example['targets']
    assert set(example) == set(source.fields)


def test_which_tasks_it_has():
  assert len(TASKS) == 8 + 10 + 3 + 3 + 2 + 4  # SuperGLUE, GLUE, ANLI, choices, summaries, questions
