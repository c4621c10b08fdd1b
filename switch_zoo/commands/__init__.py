"""The subcommands of `switch_zoo`. Each module has a `command`: its parameters are the flags, its docstring the help.

  json_output      what --json prints
  models           every model with its size and source
  describe         one model, with the gin line each number comes from
  plan_report      a plan as tables and as JSON
  plan_plot        a plan as a picture
  plan_ready       the files of every ready layout
  plan_all         a table of them
  plan_measure     the constants of this computer
  plan             layouts of a model on a slice, with memory and time
  answering        options that `generate`, `score` and `export` share
  onnx_answering   those options for an ONNX export
  conversion_bar   the progress bar of `convert`
  convert          the same weights in another format
  verify           whether two checkpoints hold the same weights
  generate         answers to texts
  score            log-probabilities of targets
  export           text in and text out, for TensorFlow or ONNX Runtime
  serve            an export behind TensorFlow Serving's REST API
  report           what a training and its experts did, as an HTML page
  corpus           text of this machine, for pre-training
  tasks            every task, whether its data is present, and examples
  phase_line       what `compile` is doing, and for how long
  compiling        a training step compiled for a TPU slice
  compiled_table   compiled models as a table
  compile          the same as a command
  demo             pre-training to a served answer in minutes

Each file imports only files above it. Nothing slow is imported before a command's options are known to be valid, so
that `--help` and a mistyped option are answered at once. `switch_zoo.cli` puts the commands together.
"""
