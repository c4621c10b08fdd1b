"""A plan as lines of gin, which t5_mesh_transformer takes as a layout."""

from collections.abc import Mapping

from switch_zoo.planner.search import Plan

# Ends the first line of such a file.
MARK = 'written by switch_zoo plan.'


def gin_lines(plan: Plan, model: str, slice_name: str, lengths: Mapping[str, int]) -> str:
  """The text of a layout file.

  Args:
    plan: a layout, and its microbatches
    model, slice_name: for the comment
    lengths: tokens of a sequence of 'inputs' and 'targets'
  """
  mesh, rules = plan.layout.text()
  lines = [
    f'# {model} on {slice_name}, {plan.sequences} sequences a step: {MARK}',
    f"utils.run.mesh_shape = '{mesh}'",
    f"utils.run.layout_rules = '{rules}'",
  ]
  if plan.layout.outer_batch_size > 1:
    lines.append(f'utils.tpu_estimator_model_fn.outer_batch_size = {plan.layout.outer_batch_size}')
  tokens = tokens_per_microbatch(plan, lengths)
  lines.append(f'utils.serialize_num_microbatches.tokens_per_microbatch_per_replica = {tokens}')
  return '\n'.join(lines) + '\n'


def tokens_per_microbatch(plan: Plan, lengths: Mapping[str, int]) -> int | None:
  """What Mesh-TensorFlow derives the number of microbatches from: a core's sequences times the longest feature."""
  if plan.microbatches == 1:
    return None
  each = plan.sequences // plan.layout.outer_batch_size // plan.layout.parts('batch') // plan.microbatches
  return each * max(lengths.values())
