"""A TensorFlow graph as XLA's HloModuleProto."""

import re
import types
import uuid
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.python.eager import context
from tensorflow.python.eager.polymorphic_function import compiler_ir
from tensorflow.python.framework import graph_to_function_def

from switch_zoo.errors import UserError
from switch_zoo.mesh.one_core import protos


def to_module(
  graph: tf.Graph,
  arguments: Sequence[tf.Tensor],
  results: Sequence[tf.Tensor],
) -> Any:
  """The program from arguments to results; custom calls are left as they are.

  Args:
    graph: of all these tensors
    arguments: placeholders with a whole shape
    results: that depend on no other placeholder
  Raises:
    UserError: an operation that XLA cannot compile
  """
  function = _function(graph, arguments, results)
  specs = [tf.TensorSpec(argument.shape, argument.dtype) for argument in arguments]
  eager: Any = context.eager_mode()
  with eager, warnings.catch_warnings():
    context.ensure_initialized()
    for definition in [*graph.as_graph_def().library.function, function]:
      context.context().add_function_def(definition)
    concrete = types.SimpleNamespace(name=function.signature.name, captured_inputs=[])
    # What replaces the argument is missing in TensorFlow 2.15.
    warnings.filterwarnings('ignore', 'device_name is being deprecated')
    try:
      serialized = compiler_ir.from_concrete_function(concrete, specs)('hlo_serialized', '/device:CPU:0')
    except (tf.errors.OpError, ValueError) as error:
      raise UserError(_explained(str(error))) from error
    finally:
      context.context().remove_function(function.signature.name)
  module = protos.hlo.HloModuleProto.FromString(serialized)
  _check(module, len(arguments), len(results))
  return module


def share_memory(module: Any, donated: Mapping[int, int]) -> None:
  """Gives arguments' memory to results. donated: number of the argument -> number of the result"""
  for argument, result in donated.items():
    entry = module.input_output_alias.entries.add(parameter_number=argument, kind=protos.hlo.MAY_ALIAS)
    entry.output_shape_index.append(result)


def _function(graph: tf.Graph, arguments: Sequence[tf.Tensor], results: Sequence[tf.Tensor]) -> Any:
  """The part of a graph that the results need, as a FunctionDef."""
  stops = {argument.op for argument in arguments}
  needed, stack = set(), [result.op for result in results]
  while stack:
    operation = stack.pop()
    if operation not in needed and operation not in stops:
      needed.add(operation)
      stack += [*operation.control_inputs, *(x.op for x in operation.inputs)]
  operations = [operation for operation in graph.get_operations() if operation in needed]
  function = graph_to_function_def.graph_to_function_def(graph, operations, arguments, results)
  function.signature.name = f'one_core_{uuid.uuid4().hex}'
  return function


def _explained(text: str) -> str:
  """XLA's refusal, the operation first, whose name begins with its layer."""
  text = ' '.join(text.split())
  node = re.search(r'\{\{node ([^}]+)\}\}', text)
  return f'{node[1] if node else "An operation"} cannot be compiled by XLA: {text[:400]}'


def _check(module: Any, num_arguments: int, num_results: int) -> None:
  shape = module.host_program_shape
  # A single result is not in a tuple.
  numbers = len(shape.parameters), len(shape.result.tuple_shapes) or 1
  if numbers != (num_arguments, num_results):
    raise AssertionError(f'the module has {numbers} arguments and results, not {(num_arguments, num_results)}')
