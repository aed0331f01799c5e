"""Options of other trainers and samplers that are none here -> what to do instead."""

_SIZE = "give --image-size HEIGHT WIDTH"
_SOME_PROMPTS = "give the prompts of the part with --prompt or --prompt-path"
_NAMED = "samples are named by their prompts; leave it out"
_IN_WORDS = "say it in the prompt, in the words of the captions that the model was trained on"
_FOLDER = "give --save-dir DIR, in training --outputs DIR"

RETIRED = {
    # Open-Sora
    "sample_name": _NAMED,
    "prompt_as_path": _NAMED,
    "start_index": _SOME_PROMPTS,
    "end_index": _SOME_PROMPTS,
    "start_from_scratch": "a run in a new folder of outputs starts afresh; leave it out",
    "resolution": _SIZE,
    "aspect_ratio": _SIZE,
    "aes": _IN_WORDS,
    "flow": _IN_WORDS,
    "camera_motion": _IN_WORDS,
    "llm_refine": "no language model rewrites prompts here; leave it out",
    "watermark": "samples carry no mark; leave it out",
    "verbose": "each sample is told as it is done; leave it out",
    # DiT, Latte, PixArt, diffusers
    "height": _SIZE,
    "width": _SIZE,
    "negative_prompt": "guidance leads away from the empty text, and no other; leave it out",
    "output": _FOLDER,
    "outputs": _FOLDER,
    "output_dir": _FOLDER,
    "results_dir": _FOLDER,
    "work_dir": _FOLDER,
    "save_path": _FOLDER,
    "learning_rate": "give --lr",
    "train_batch_size": "give --batch-size, of one size of clips; buckets say their own",
    "global_batch_size": "give --batch-size, of one worker; buckets say their own",
    "max_train_steps": "give --num-steps",
    "num_train_epochs": "give --epochs",
    "gradient_accumulation_steps": "give --accumulate",
    "gradient_checkpointing": "give --grad-checkpoint True",
    "mixed_precision": "give --dtype",
    "max_grad_norm": "give --grad-clip",
    "checkpointing_steps": "give --ckpt-every",
    "resume_from": "give --load FOLDER; the same command goes on by itself",
    "resume_from_checkpoint": "give --load FOLDER; the same command goes on by itself",
    "lr_scheduler": "give --lr-decay",
    "lr_warmup_steps": "give --warmup-steps",
    "global_seed": "give --seed",
    "report_to": "give --loggers",
    "pretrained_model_name_or_path": "give --ckpt-path",
}
