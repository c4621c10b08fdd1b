"""A layer of a user's own, whose dimension no model of the package has."""

import gin
import mesh_tensorflow as mtf
from mesh_tensorflow.transformer import transformer


@gin.configurable(module='own_layer')
class Bottleneck(transformer.TransformerLayer):
  """A linear layer through 6 values."""

  def call(self, context, x, losses=None):
    narrow = mtf.layers.dense(
      x, new_dims=[mtf.Dimension('narrow', 6)], reduced_dims=[context.model.model_dim], name='in'
    )
    return mtf.layers.dense(narrow, new_dims=[context.model.model_dim], reduced_dims=narrow.shape.dims[-1:], name='out')
