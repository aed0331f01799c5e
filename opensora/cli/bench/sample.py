"""`opensora bench sample`: seconds a sample, beside a sampler as the reference's."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time whole samples, from the prompt to the frames, with random weights: seconds, steps a"
    " second, shares of text encoder and VAE, memory; beside a sampler as the reference's, which"
    " is eager, reads the text anew at each step and decodes all frames at once."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--type", default="STDiT-XL/2", metavar="NAME", help="registered model")
    parser.add_argument("--num-frames", type=count, default=16, metavar="T", help="of a clip")
    parser.add_argument(
        "--image-size", type=count, nargs=2, default=(256, 256), metavar=("H", "W"), help="pixels"
    )
    parser.add_argument("--batch-size", type=count, default=1, metavar="B", help="clips at once")
    parser.add_argument(
        "--num-sampling-steps", type=count, default=10, metavar="N", help="denoising steps"
    )
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16"), default="bf16", help="of weights and numbers"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one"
    )
    parser.add_argument(
        "--text-channels", type=count, default=4096, metavar="D", help="of a T5 (default: 4096)"
    )
    parser.add_argument(
        "--text-length",
        type=count,
        default=120,
        metavar="L",
        help="padding included (default: 120)",
    )
    parser.add_argument(
        "--vae-channels",
        type=count,
        nargs="+",
        default=(128, 256, 512, 512),
        metavar="C",
        help="of the levels of the autoencoder (default: those of Stable Diffusion)",
    )
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled sampler out")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="time on all processors in place of the wall's, for a machine that others use",
    )
    parser.add_argument("--repeats", type=count, default=3, metavar="N", help="timed batches")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="NAME=VALUE", help="fields of the model"
    )
    parser.add_argument("--json", metavar="FILE", help="the figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print a table, write; returns the summary line."""
    from dataclasses import asdict

    from opensora.bench.measure import machine
    from opensora.bench.sample import GOAL, Kind, Setup, gain, measure_samplers, sample_table
    from opensora.config.load import parse_overrides
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json
    from opensora.core.log import say
    from opensora.models.device import choose_device

    numbers = (args.num_frames, args.batch_size, args.num_sampling_steps, args.repeats)
    if min(*numbers, args.text_length, *args.vae_channels) < 1:
        raise ConfigError("bench sample: numbers start at 1")
    if args.text_channels < 64 or args.text_channels % 64:
        raise ConfigError(f"--text-channels is {args.text_channels}; expected a multiple of 64")
    fields = dict(parse_overrides(["--cfg-options", *args.cfg_options]) if args.cfg_options else [])
    setup = Setup(
        model={"type": args.type, **fields},
        vae_channels=tuple(args.vae_channels),
        text_channels=args.text_channels,
        text_length=args.text_length,
        num_frames=args.num_frames,
        image_size=(args.image_size[0], args.image_size[1]),
        batch_size=args.batch_size,
        steps=args.num_sampling_steps,
        dtype=args.dtype,
        device=choose_device(args.device),
        repeats=args.repeats,
        processor_time=args.processor_time,
    )
    kinds: list[Kind] = ["reference", "eager"]
    if args.dtype != "fp32":
        kinds.insert(0, "reference fp32")
    if not args.no_compile:
        kinds.append("compiled")
    rows = measure_samplers(setup, kinds)
    say(f"{machine()}\n\n{sample_table(rows, setup)}\n\n")
    if args.json:
        found = {
            "machine": machine(),
            "setup": asdict(setup),
            "rows": [asdict(row) for row in rows],
        }
        write_json(args.json, found)
    ours = [row for row in rows if not row.kind.startswith("reference")]
    best = min(ours, key=lambda row: row.seconds)
    return (
        f"{best.seconds / setup.batch_size:.2f} s a sample {best.kind},"
        f" {gain(rows, best, 'reference'):.2f} times as fast as the reference's (goal: {GOAL})"
    )
