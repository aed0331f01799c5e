"""Demo stage 1 with the transformer of Wan, in small: full attention over frames and places."""

_base_ = ["stage1.py"]

model = dict(
    _delete_=True,
    type="diffusers",
    architecture=dict(
        _class_name="WanTransformer3DModel",
        patch_size=[1, 2, 2],
        num_attention_heads=4,
        attention_head_dim=36,
        in_channels=4,
        out_channels=4,
        text_dim=96,
        freq_dim=144,
        ffn_dim=576,
        num_layers=4,
    ),
)
scheduler = dict(_delete_=True, type="flow-match", shift=3.0, sample_method="logit-normal")
dtype = "fp32"
balance = "random"
