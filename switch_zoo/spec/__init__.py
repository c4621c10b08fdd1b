"""What a gin file says about a model, as data: read in milliseconds, without TensorFlow.

  token_ids      ids with a fixed meaning: padding, end, unknown, sentinels
  answer_checks  what settings of an answer may be
  sublayers      the kinds of sublayers, how blocks are made of them, which of them are sparse; padding a vocabulary
  capacity       groups of tokens and slots of experts as plain integers, and the defaults of both
  routers        the routers under all of their names
  shape          ModelShape: the sizes of a model and its layers
  variables      the Mesh-TensorFlow variables of a shape: names and named axes
  gin_files      bindings, macros and references of gin files, read once and kept as data
  own_modules    modules that gin files import
  bindings       looks up one of those bindings, checks its kind and records its place
  setting_kinds  what values the common settings of a run and the sizes of a model take
  config_reader  from those bindings to the fields of a ModelConfig
  config         ModelConfig: a shape, where it comes from, and the figures that follow from it
  zoo            the models that come with switch_zoo, and any gin file, as a ModelConfig
  layouts        mesh shapes and layout rules, and whether they fit a model

Each file imports only files above it. Nothing here imports another folder of switch_zoo.
"""
