"""Every Switch Transformer, and its dense T5, top-2 and GShard relatives, as gin-configured T5 models."""
from switch_zoo import checkout, tf_compat
from switch_zoo.config import ModelConfig, list_models, load_config

__all__ = ['ModelConfig', 'list_models', 'load_config']

tf_compat.install()
checkout.install()
