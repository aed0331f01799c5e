"""Options and commands of other trainers and samplers that are none here -> what to do instead."""

import shlex
from collections.abc import Collection
from pathlib import PurePath

_SIZE = "give --image-size HEIGHT WIDTH"
_SOME_PROMPTS = "give the prompts of the part with --prompt or --prompt-path"
_NAMED = "samples are named by their prompts; leave it out"
_IN_WORDS = "say it in the prompt, in the words of the captions that the model was trained on"
_PROMPT = "give --prompt, or --prompt-path of a file with one a line"
_STEPS = "give --num-sampling-steps"
_ADAPTERS = "give --lora.rank, --lora.alpha and --lora.targets in training (docs/training.md)"
_ADAPTED = "give --lora FILE when sampling, a lora.safetensors of this trainer"
_TABLE = "give --data-path of a table; `opensora import-manifest` makes one of other layouts"
_COLUMNS = "columns are known by their usual names (docs/curation.md); leave it out"
_WORKERS = "give --gpus N, and --sp-size of those that share a video"
_VALIDATION = "give --eval-every; samples of a checkpoint are made by `opensora sample`"
_CKPT = "give --ckpt-every, in steps"
_STORES = (
    "latents are made before training, and anew where what they come from changed; leave it out"
)
_CLASSES = (
    "a class is a prompt: give its number with --prompt, how many there are in --model.condition"
)
_KERNELS = "the fastest kernels of a probe are taken, --kernels names others; leave it out"
_MEMORY = "--batch-size, --grad-checkpoint and --decode-frames say what a GPU holds; leave it out"
_BETAS = "give --optimizer.betas"
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
    "pretrained": "give --ckpt-path",
    "from_pretrained": "give --ckpt-path",
    "cond_type": "give --reference-path and --mask-strategy of what a sample builds on",
    "model_path": "give --ckpt-path",
    "t5_path": "give --text-encoder",
    "text_encoder_path": "give --text-encoder",
    "tokenizer_path": "give --vae for an autoencoder, --text-encoder for a text encoder",
    "max_sequence_length": "give --text-encoder.model-max-length",
    "class_labels": _CLASSES,
    "num_classes": _CLASSES,
    "txt_file": _PROMPT,
    "caption": _PROMPT,
    "text": _PROMPT,
    "text_prompt": _PROMPT,
    "bs": "give --batch-size",
    "per_proc_batch_size": "give --batch-size",
    "num_fid_samples": "give --num-samples, of each prompt",
    "num_videos_per_prompt": "give --num-samples, of each prompt",
    "sampling_algo": "give --scheduler.type, such as dpm-solver",
    "step": _STEPS,
    "steps": f"{_STEPS}, in training --num-steps",
    "infer_steps": _STEPS,
    "sample_steps": _STEPS,
    "sample_dir": _FOLDER,
    "save_video_path": _FOLDER,
    "save_name": _NAMED,
    "output_name": _FOLDER,
    "video_length": "give --num-frames",
    "max_frames": "give --num-frames",
    "video_size": _SIZE,
    "micro_frame_size": "give --vae.micro-batch-size; in sampling --decode-frames",
    "flow_shift": "give --scheduler.shift",
    "discrete_flow_shift": "give --scheduler.shift",
    "motion_score": _IN_WORDS,
    "device": "a GPU is taken where there is one; leave it out",
    "config": "name the config without it, as the first word",
    # finetrainers, diffusion-pipe, musubi-tuner, DiffSynth
    "train_steps": "give --num-steps",
    "max_train_epochs": "give --epochs",
    "weight_decay": "give --optimizer.weight-decay",
    **dict.fromkeys(("beta1", "beta2", "adam_beta1", "adam_beta2"), _BETAS),
    **dict.fromkeys(("training_type", "train_architecture", "rank", "lora_rank"), _ADAPTERS),
    **dict.fromkeys(("lora_alpha", "target_modules", "network_dim", "network_alpha"), _ADAPTERS),
    "network_module": _ADAPTERS,
    **dict.fromkeys(("lora_path", "lora_weight", "pretrained_lora_path"), _ADAPTED),
    **dict.fromkeys(("dataset_config", "dataset_file", "instance_data_root"), _TABLE),
    **dict.fromkeys(("video_column", "caption_column"), _COLUMNS),
    "data_root": _TABLE,
    "id_token": "write it into the captions: a column text of the table; leave it out",
    "video_resolution_buckets": "give --bucket-config",
    "caption_dropout_p": "give --model.class-dropout-prob",
    "model_name": "the config says which model; leave it out",
    "dataloader_num_workers": "give --num-workers",
    "feature_path": "give --dataset.latents and --dataset.embeddings, which are stores",
    **dict.fromkeys(("dp_degree", "dp_shards", "pp_degree", "cp_degree", "tp_degree"), _WORKERS),
    **dict.fromkeys(("parallel_backend", "deepspeed", "local_rank", "num_gpus"), _WORKERS),
    **dict.fromkeys(("validation_steps", "validation_dataset_file", "eval_steps"), _VALIDATION),
    "num_validation_videos": _VALIDATION,
    **dict.fromkeys(("save_every_n_epochs", "save_every_n_steps", "save_steps"), _CKPT),
    **dict.fromkeys(("cache_only", "regenerate_cache", "trust_cache"), _STORES),
    **dict.fromkeys(("precomputation_items", "enable_precomputation"), _STORES),
    **dict.fromkeys(("sdpa", "xformers", "allow_tf32", "attn_mode"), _KERNELS),
    **dict.fromkeys(("offload", "enable_slicing", "enable_tiling", "blocks_to_swap"), _MEMORY),
    "use_ema": "weights are averaged anyway, --ema-decay says how slowly; leave it out",
}

# what other projects call their scripts -> our command
_COMMANDS = {
    **dict.fromkeys(("inference", "inference-long", "generate", "infer", "sample-ddp"), "sample"),
    **dict.fromkeys(("finetune", "fine-tune", "train-with-img", "train-lora"), "train"),
    "search-bs": "search-batch-size",
    **dict.fromkeys(("convert", "ingest"), "ingest-videos"),
    **dict.fromkeys(("scene-detect", "scenes"), "detect-scenes"),
    **dict.fromkeys(("cut", "split", "clips"), "split-clips"),
    **dict.fromkeys(("caption", "caption-llava", "caption-gpt4", "camera-motion"), "caption-clips"),
    **dict.fromkeys(("score", "scoring", "aesthetic", "optical-flow", "matching"), "score-clips"),
    **dict.fromkeys(("datautil", "filter", "curate"), "build-manifest"),
    **dict.fromkeys(("precompute", "cache-latents", "vae-encode"), "encode-videos"),
    "cache-text-encoder-outputs": "encode-captions",
    **dict.fromkeys(("eval", "metrics", "vbench"), "evaluate"),
    **dict.fromkeys(("convert-weights", "convert-ckpt"), "convert-checkpoint"),
    **dict.fromkeys(("gradio", "demo", "webui", "ui"), "app"),
}


def command_meant(word: str, commands: Collection[str]) -> str:
    """The end of a sentence about a word that is no command, where others have it; else "".

    Args:
        word: as it was typed: a script of another project, the name of one, or a config.
        commands: those there are.
    """
    name = PurePath(word)
    stem = name.stem.lower().replace("_", "-")
    if name.suffix.lower() in (".yaml", ".yml"):
        file = shlex.quote(word)
        return f"; it is run by: snakemake --profile profiles/local report --configfile {file}"
    command = stem if stem in commands else _COMMANDS.get(stem)
    if command:
        return f"; here it is `opensora {command}`"
    if name.suffix.lower() == ".py":
        return "; a command stands before its config: `opensora train CONFIG`"
    return ""
