"""`opensora convert-checkpoint`: one safetensors file from weights of any format."""

import argparse

HELP = (
    "Rewrite a checkpoint as one safetensors file with the names of the models here. Reads .pt,"
    " .pth, .bin, .ckpt, .safetensors, sharded folders and training folders, and the layouts of"
    " PixArt-alpha, DiT, Latte and Open-Sora. With --type the names and shapes are compared with"
    " that model; fields of the model can follow as --field VALUE."
)
EXAMPLE = (
    "opensora convert-checkpoint PixArt-XL-2-512x512.pth mine/pixart.safetensors"
    " --type PixArt-XL/2 --dtype bf16"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("input", help="file, folder, official file name or hub name")
    parser.add_argument("output", help="file to write, ending in .safetensors")
    parser.add_argument("--type", metavar="NAME", help="compare with this model, e.g. STDiT2-XL/2")
    parser.add_argument(
        "--dtype", metavar="TYPE", help="fp32, bf16 or fp16; as in the input if not given"
    )


def run(args: argparse.Namespace) -> str:
    """Convert; returns the summary line."""
    from opensora.config.load import parse_overrides
    from opensora.core.errors import ConfigError
    from opensora.models.build import build_empty
    from opensora.models.device import parse_dtype
    from opensora.models.weights.checkpoint import convert_checkpoint
    from opensora.models.weights.pretrained import resolve_weights

    dtype = None if args.dtype is None else parse_dtype(args.dtype, place="--dtype")
    fields = dict(parse_overrides(args.overrides))
    if fields and args.type is None:
        raise ConfigError(f"--{next(iter(fields))} is a field of a model; name it with --type")
    source = resolve_weights(args.input)
    weights, report = convert_checkpoint(
        source,
        args.output,
        dtype=dtype,
        model=None if args.type is None else build_empty(args.type, fields),
    )
    parameters = sum(tensor.numel() for tensor in weights.tensors.values())
    compared = "" if report is None else f"; {args.type}: {report}"
    return (
        f"{len(weights.tensors)} tensors, {parameters:,} numbers, layout {weights.layout}"
        f" -> {args.output}{compared}"
    )
