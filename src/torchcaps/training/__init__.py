"""Training: what a run is told (config), what it does (loop), and what it leaves (run folder).

`loop.train` is `torchcaps train`; `loop.train_task` trains a model of one's own for a `task.Task`
of one's own.
"""
