"""Pieces of a layer stack that gin files name."""

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer

from switch_zoo.errors import UserError


@gin.configurable(module='stacks')
def sublayer_call_layer(x: mtf.Tensor, layer_stack: transformer.LayerStack, context: transformer.Context) -> mtf.Tensor:
  """Calls the current layer inside the variable scope of its checkpoint name.

  Like Mesh-TensorFlow's sublayer of the same name, but a layer may state a `scope_name` that differs from its
  class's name, so that our SwitchFeedForward keeps the variables of the released MoE1D.

  Args:
    x: <activation>[batch..., length, d_model]
    layer_stack: the stack
    context: of this call
  Returns:
    <activation>[batch..., length, d_model]
  """
  x = transformer.sublayer_mask_padding(x, layer_stack, context)
  layer = context.current_layer  # pyright: ignore[reportAttributeAccessIssue] - LayerStack.call sets it
  with tf.variable_scope(getattr(layer, 'scope_name', type(layer).__name__)):
    return layer.call(context, x)


@gin.configurable(module='stacks')
def num_blocks(num_layers: int = gin.REQUIRED, layers_per_block: int = gin.REQUIRED) -> int:
  """Blocks in a stack of `num_layers` Transformer layers when a block holds `layers_per_block` of them.

  Raises:
    UserError: the layers do not fill whole blocks
  """
  if layers_per_block < 1:
    raise UserError(f'layers_per_block={layers_per_block}: a block holds at least one layer.')
  if num_layers % layers_per_block:
    raise UserError(
      f'num_layers={num_layers} is not a multiple of layers_per_block={layers_per_block}: a block is repeated '
      f'whole. Use {num_layers - num_layers % layers_per_block} or '
      f'{num_layers + layers_per_block - num_layers % layers_per_block} layers.'
    )
  return num_layers // layers_per_block


def on_one_slice(model: transformer.Unitransformer) -> bool:
  """Whether the mesh of a model is one slice, as that of a model without a mesh."""
  return model.mesh_shape is None or mtf.convert_to_shape(model.mesh_shape).size == 1


def num_slices(model: transformer.Unitransformer, dim: mtf.Dimension) -> int:
  """The number of mesh slices over which the layout of a model cuts `dim`; 1 for a model without a layout."""
  if model.layout is None or model.mesh_shape is None:
    return 1
  return mtf.tensor_dim_to_mesh_dim_size(model.layout, model.mesh_shape, dim)
