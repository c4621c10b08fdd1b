"""`switch_zoo export --to onnx`: graphs for ONNX Runtime, made from the weights and the ModelConfig. Needs onnx.

  weight_file    the file of the weights, each of which it holds once
  graph          a graph under construction
  products       products with weights, in float32 or int8
  positions      relative positions as a table
  feed_forward   dense layers, and experts of which only those with rows are computed
  attention      attention, and tokens without the padding between them
  stacks         what encoder and decoder share
  encoder        the graph of the encoder
  decoder        the graph of the decoder
  readme         the README of an export
  int8_loss      what int8 changes, measured on a sample
  folder         the whole export, written or not at all

Each file imports only files above it.
"""
