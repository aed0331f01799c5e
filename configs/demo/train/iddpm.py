"""Demo stage with the objective of Open-Sora 1.0: noise prediction with a learned variance."""

_base_ = ["stage1.py"]

bucket_config = dict(_delete_=True, **{"32px": {1: (1.0, 32), 16: (1.0, 16)}})
epochs = 400

model = dict(pred_sigma=True)
scheduler = dict(_delete_=True, type="iddpm")
ema_decay = 0.999
lr_decay = "linear"
eval_every = 1000
log_every = 10
