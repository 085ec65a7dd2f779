"""Training: `fit`, `Trainer`, their options, evaluation, callbacks, checkpoints and plans of training steps.

May import everything below it (`data`, `layers`, `losses`, `optim`, `recording`, `metrics`), but not
`studies`, `naive` or `cli`.
"""
