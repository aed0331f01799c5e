"""A short training on videos of your own: shows that they go through, learns little."""

_base_ = ["stage1.py"]

bucket_config = dict(_delete_=True, **{"48px": {1: (1.0, 4), 16: (1.0, 4)}})
num_steps = 60
epochs = 240  # more than few videos need for them: the plan ends with num_steps
drop_last = False  # few videos fill no batch; they are trained as a smaller one
