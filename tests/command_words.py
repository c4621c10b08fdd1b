"""Words of `t5_mesh_transformer` commands on tiny_switch_8, at small sizes."""

MODEL = ['--gin_file=models/tiny_switch_8.gin', '--gin_file=layouts/cpu.gin']
PRETRAIN = [*MODEL, '--gin_file=runs/pretrain.gin']
SIZES = ['--gin_param=INPUTS_LENGTH = 32', '--gin_param=TARGETS_LENGTH = 16', '--gin_param=BATCH_SIZE = 8']


def mixture(name):
  return f"--gin_param=MIXTURE_NAME = '{name}'"
