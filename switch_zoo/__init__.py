"""Every Switch Transformer, and its dense T5, top-2 and GShard relatives, as gin-configured T5 models."""
from switch_zoo import checkout, tf_compat

tf_compat.install()
checkout.install()
