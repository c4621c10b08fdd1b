"""What a training does not do before its first step: imports that it does not need, and looking for code to convert."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from fresh_process import run
from tensorflow.python.autograph.impl import api

from switch_zoo.tasks import cut_texts, packing, registration

# Each takes from a tenth of a second to two seconds; whoever uses one imports it at that time.
NOT_NEEDED = (
  'torch',
  'transformers',
  'pandas',
  'sklearn',
  'scipy.stats',
  'nltk',
  'rouge_score.rouge_scorer',
  'pyglove',
)


def test_a_run_imports_nothing_that_it_does_not_need():
  done = run(
    f"""
      import sys
      from switch_zoo import tf_compat
      tf_compat.quiet()
      import switch_zoo.launcher.command
      print([name for name in {NOT_NEEDED} if name in sys.modules])
    """
  )
  assert done.stdout == '[]\n'


def test_what_was_deferred_works_when_it_is_used():
  done = run(
    """
      from switch_zoo import tf_compat
      tf_compat.quiet()
      import t5.data
      from t5.data import glue_utils
      from t5.evaluation import metrics
      from switch_zoo.tasks import own_file_metrics
      print(metrics.pearson_corrcoef([1, 2, 3], [2, 4, 6])['pearson_corrcoef'])
      print(glue_utils.get_glue_metric('cola')[0]([0, 1, 1], [0, 1, 1])['matthews_corrcoef'])
      print(round(metrics.rouge(['a b'], ['a b'])['rouge1']))
      print(own_file_metrics.macro_f1(['a', 'b'], ['a', 'b'])['macro_f1'])
      try:
        metrics.sklearn_metrics_wrapper('no_such_metric')
      except ValueError as error:
        print(error)
    """
  )
  pearson, matthews, *rest = done.stdout.splitlines()
  np.testing.assert_allclose([float(pearson), float(matthews)], 100.0)
  assert rest == ['100', '100.0', 'sklearn.metrics does not have: no_such_metric']


@pytest.mark.skipif(importlib.util.find_spec('torch') is None, reason='without PyTorch there is no such model')
@pytest.mark.slow
def test_the_model_on_pytorch_is_imported_by_who_reads_it():
  done = run(
    """
      import sys
      import switch_zoo, t5.models
      assert 'torch' not in sys.modules and not hasattr(t5.models, 'no_such_name')
      print(t5.models.HfPyTorchModel is sys.modules['t5.models.hf_model'].HfPyTorchModel, 'torch' in sys.modules)
    """
  )
  assert done.stdout == 'True True\n'


def test_a_package_that_is_loaded_is_not_deferred():
  done = run('import switch_zoo, scipy.stats, t5.data; print(t5.data.glue_utils.metrics.scipy.stats is scipy.stats)')
  assert done.stdout == 'True\n'


def test_nothing_of_a_text_task_is_searched_for_python_to_convert(monkeypatch):
  converted = []
  convert = api._convert_actual
  monkeypatch.setattr(api, '_convert_actual', lambda entity, *rest: converted.append(entity) or convert(entity, *rest))
  rows = tf.data.Dataset.from_tensors({'inputs': 'a text', 'targets': 'another'})
  features = registration.features(registration.vocabularies._BYTE_VOCABULARY)
  lengths = {'inputs': 16, 'targets': 8}
  ids = cut_texts.CutTexts('made up', lengths).tokenized(rows, features)
  packing.packed(
    ids.map(tf.autograph.experimental.do_not_convert(lambda row: {key: row[key] for key in lengths})), lengths
  )
  assert [entity.__name__ for entity in converted] == []
