"""What the sampling configs share; each adds its size, model, text encoder and scheduler."""

vae = dict(type="VideoAutoencoderKL", from_pretrained="stabilityai/sd-vae-ft-ema")
dtype = "bf16"

batch_size = 2
seed = 42
save_dir = "./samples/samples/"
