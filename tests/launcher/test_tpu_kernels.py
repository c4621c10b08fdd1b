"""--tpu with a TensorFlow that cannot use one is refused before anything else."""

import types

import pytest
from tensorflow.python.framework import kernels

from switch_zoo import t5_mesh_transformer
from switch_zoo.launcher import tpu_kernels


@pytest.mark.parametrize('tpu', ['local', 'my-pod', 'grpc://10.0.0.2:8470'])
def test_the_released_tensorflow_is_refused_before_the_gin_files_are_read(tpu, capsys, tmp_path):
  arguments = [f'--tpu={tpu}', '--gin_file=no_such_file.gin', f'--model_dir={tmp_path}/model']
  assert t5_mesh_transformer.main(['t5_mesh_transformer', *arguments]) == 2
  message = capsys.readouterr().err
  assert f'--tpu={tpu}: the installed TensorFlow' in message and 'no_such_file' not in message
  assert message.count('\n') == 1
  assert all(word in message for word in ('tpu-vm-tf-2.15.1', '--system-site-packages', 'docs/tpu.md'))
  assert not (tmp_path / 'model').exists()


def test_a_tensorflow_with_kernels_passes(monkeypatch):
  present = types.SimpleNamespace(kernel=['one'])
  monkeypatch.setattr(kernels, 'get_registered_kernels_for_op', lambda name: present)
  tpu_kernels.check('local')


def test_without_a_tpu_nothing_is_asked():
  tpu_kernels.check(None)
  tpu_kernels.check('')
